#!/usr/bin/env python3
#
# Machines at work that are killed at moments drawn from a seed, are sent signals that must not matter,
# and have less memory, descriptors and disk than they want.

"""usage: kills.py SKEP IMAGES [N [SEED]]

Kill N machines (default 12), by SIGTERM and SIGKILL in turn, and look at what is left: no process, no
socket, no lock, no tap; an overlay that opens, a status of 128 and the signal. A line for each test;
exit status 0 passed, 1 failed, 77 this host cannot run guests."""

import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = 120  # seconds, for a host with too much to do

failed = False


def tell(ok, what, why=""):
    global failed
    failed = failed or not ok
    print(f"{'ok     ' if ok else 'FAILED '} {what}{'' if ok else ': ' + why}", flush=True)


def skip(what, why):
    # As cmocka does, whose skipped parts tools/check counts.
    print(f"skipped: {why}\n[  SKIPPED ] {what}", flush=True)


class Machine:
    """A directory, and machines that are made of what is in it."""

    def __init__(self, skep, images, work):
        self.skep, self.images, self.work = skep, images, work
        self.socket = f"{work}/socket"
        for name in "disk", "base":
            with open(f"{work}/{name}", "wb") as f:
                f.truncate(1 << 20)
        self.tap = []
        if os.geteuid() == 0 and self.run("--net", f"tap={self.tap_name()}", "-a", "quiet exit=0") == 0:
            self.tap = ["--net", "tap=" + self.tap_name()]

    def tap_name(self):
        return f"kills{os.getpid() % 1000000}"

    def command(self, *options):
        return [self.skep, "run", "-m", "16M", *options]

    def start(self, *options, **popen):
        # A session of its own, by which whoever is left is found.
        self.log = open(f"{self.work}/log", "w+b")
        return subprocess.Popen(self.command(*options), stdin=subprocess.DEVNULL, stdout=self.log,
                                stderr=self.log, start_new_session=True, **popen)

    def run(self, *options, **popen):
        return self.start(*options, **popen).wait(PATIENCE)

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def everything(self):
        w = self.work
        return ["-k", f"{self.images}/vblk.bz", "-a", "measure=100000000", "-d", f"{w}/disk",
                "-d", f"{w}/base,overlay={w}/overlay", "--device", "virtio_rng", "--serial",
                f"unix:{self.socket}", "--serial", "pty", "--trace", f"{w}/trace,size=1M", *self.tap]

    def resets(self):
        """A guest that resets over and over, with the queues of its devices full."""
        w = self.work
        return ["-m", "64M", "-k", f"{self.images}/greedy.bz", "-a", "reset=1", "-d",
                f"{w}/disk,transport=mmio", "--device", "virtio_rng,transport=mmio", "--serial",
                f"unix:{self.socket}", "--console", "pty,transport=mmio", "--device",
                "virtio_balloon,transport=mmio,stats=1", *self.tap]


def session(sid):
    """The processes of a session, zombies aside."""
    left = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[3] == str(sid) and fields[0] not in "ZX":
            left.append(pid)
    return left


def soon(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def runs(pid):
    """Whether a machine's guest has begun, or the process has ended."""
    try:
        names = []
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/comm") as f:
                names.append(f.read())
        return "vcpu 0\n" in names or names == []
    except OSError:
        return True


def killed(m, options, sig, delay, running):
    """What is wrong behind a kill: None, or a sentence."""
    p = m.start(*options)
    if running and not soon(lambda: runs(p.pid) or p.poll() is not None):
        return "the guest did not begin"
    time.sleep(delay)
    p.send_signal(sig)
    try:
        status = p.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, signal.SIGKILL)
        return "it does not end"
    if status not in (-sig, 128 + sig):
        return f"status {status}: {m.said()}"
    if not soon(lambda: not session(p.pid)):
        return f"processes are left: {session(p.pid)}"
    if running and not soon(lambda: not os.path.exists(m.socket)):
        return "the socket is left"
    if m.tap and not soon(lambda: not os.path.exists("/sys/class/net/" + m.tap_name())):
        return "the tap is left"
    return None


def kills(m, n, draw):
    for i in range(n):
        sig = (signal.SIGTERM, signal.SIGKILL)[i % 2]
        # Half of them before the guest begins, or just then.
        running = i % 4 < 2
        delay = draw.uniform(0, 0.2 if running else 0.06)
        resets = running and draw.random() < 0.5
        why = killed(m, m.resets() if resets else m.everything(), sig, delay, running)
        # And the next one finds nothing in its way.
        if why is None and m.run("-d", f"{m.work}/disk", "-d", f"{m.work}/base,overlay={m.work}/overlay",
                                 "--serial", f"unix:{m.socket}", *m.tap, "-a", "quiet exit=0"):
            why = "the next one: " + m.said()
        if os.path.exists(m.socket):
            os.unlink(m.socket)
        name = f"{signal.Signals(sig).name} {delay * 1000:.0f} ms behind the "
        name += "start" if not running else "guest, which resets" if resets else "guest"
        tell(why is None, f"killed: {name}", why)


def signals(m, draw):
    """Stopped and continued, its window changed, over and over: the guest does not see it."""
    with open(f"{m.work}/console", "w+b") as console:
        p = m.start("-k", f"{m.images}/vblk.bz", "-d", f"{m.work}/disk", "--serial",
                    f"file:{m.work}/console", "--device", "virtio_rng")
        # So often, and not until it has ended: on a busy host it would never get to run.
        for _ in range(50):
            if p.poll() is not None:
                break
            for sig in draw.sample((signal.SIGSTOP, signal.SIGCONT, signal.SIGWINCH, signal.SIGCONT,
                                    signal.SIGURG, signal.SIGCHLD), 6):
                p.send_signal(sig)
            p.send_signal(signal.SIGCONT)
            time.sleep(draw.uniform(0, 0.003))
        soon(lambda: p.poll() is not None)
        p.kill()
        p.wait()
        text = console.read().decode(errors="replace")
    tell(p.returncode == 0 and "checks hold" in text, "signals that do not end it",
         f"status {p.returncode}: {text}{m.said()}")


def limits(m):
    """Less than it wants: a sentence and status 125, whatever it was that was short."""
    cases = [(f"{n} descriptors", resource.RLIMIT_NOFILE, n) for n in (4, 8, 12, 16, 24, 32)]
    cases += [(f"{n} MiB of addresses", resource.RLIMIT_AS, n << 20) for n in (16, 24, 40, 64)]
    for what, limit, value in cases:
        status = m.run(*m.everything(), "--timeout", "1",
                       preexec_fn=lambda: resource.setrlimit(limit, (value, value)))
        said = m.said()
        # Too little for the loader of programs is not skep's.
        fine = status in (124, 125, 126) and "skep: " in said or status == 127
        tell(fine, f"a limit of {what}", f"status {status}: {said}")
        if os.path.exists(m.socket):
            os.unlink(m.socket)


def full_disk(m):
    """A file that may not grow: what does not fit is lost with a word, and the guest goes on."""
    status = m.run("--serial", f"file:{m.work}/grows", "-a", "quiet flood=100000 exit=3",
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000)))
    said = m.said()
    tell(status == 3 and "lost" in said, "a console that may not grow", f"status {status}: {said}")


def own_group():
    """A control group of ours with a memory limit of its own, or None."""
    try:
        with open("/proc/self/cgroup") as f:
            lines = [line.strip().split(":", 2) for line in f]
        for _, controllers, path in lines:
            if controllers == "memory":
                base, limit = "/sys/fs/cgroup/memory" + path, "memory.limit_in_bytes"
            elif not controllers:
                base, limit = "/sys/fs/cgroup" + path, "memory.max"
            else:
                continue
            group = f"{base}/skep-kills-{os.getpid()}"
            try:
                os.mkdir(group)
                with open(f"{group}/{limit}", "w") as f:
                    f.write("67108864")
                return group
            except OSError:
                if os.path.isdir(group):
                    os.rmdir(group)
    except OSError:
        pass
    return None


def memory(m):
    """More memory than the group may have: the kernel ends skep, as kill -9 does, and nobody else."""
    group = own_group()
    if not group:
        skip("a limit of memory by cgroup", "no control group can be made here")
        return

    def join():
        with open(f"{group}/cgroup.procs", "w") as f:
            f.write(str(os.getpid()))

    p = m.start("-m", "256M,prealloc=on", "--serial", f"unix:{m.socket}", "-a", "quiet exit=0",
                preexec_fn=join)
    status = p.wait(PATIENCE)
    gone = soon(lambda: not session(p.pid))
    if os.path.exists(m.socket):
        os.unlink(m.socket)
    soon(lambda: try_rmdir(group))
    tell(status in (-signal.SIGKILL, 125) and gone, "a limit of memory by cgroup",
         f"status {status}: {m.said()}")


def try_rmdir(path):
    try:
        os.rmdir(path)
        return True
    except OSError:
        return False


def main():
    if len(sys.argv) not in (3, 4, 5):
        print(__doc__, file=sys.stderr)
        return 125
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("SKIPPED: /dev/kvm is not usable")
        return 77
    n = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(1 << 32)
    print(f"# seed {seed}")
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as work:
        m = Machine(sys.argv[1], sys.argv[2], work)
        kills(m, n, draw)
        signals(m, draw)
        limits(m)
        full_disk(m)
        memory(m)
    return 1 if failed else 0


sys.exit(main())
