#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Record how firmware and Linux program the chips of a PC, for tests/unit/golden.c.

usage: tests/golden/traces/record.py [--log DIRECTORY] [NAME.trace…]

Boots Debian's cloud kernel on QEMU's `pc` machine, emulated (needs neither privileges nor KVM), and
has QEMU trace every access to a device, every change of an interrupt wire and every acknowledge of
the 8259A. What QEMU's chips answer is the second opinion that skep's are held against. Writes the
traces next to this script, or those that are named. --log keeps QEMU's logs, or converts the logs
that are there already.

A trace is one action a line, numbers in hexadecimal unless said otherwise:

    w PORT SIZE VALUE   the guest writes; addresses from 10000 on are memory
    r PORT SIZE VALUE   it reads, and so it answers
    r PORT SIZE VALUE/MASK   these bits of the answer count
    r PORT SIZE VALUE~MOST   it may be off by so much
    r PORT SIZE ?       it does not count
    W INDEX VALUE       the guest writes the index port of the chip, then its data port
    R INDEX VALUE       the same for a read; as r, with /MASK, ~MOST and ?
    i GSI LEVEL         the wire into the chip changes (both decimal)
    o GSI LEVEL         the wire out of the chip is so now (both decimal); compared before writes
    a VECTOR            a processor acknowledges, and is given this vector
    m ADDRESS DATA      the chip has sent this message
    e VECTOR            a processor ends a level-triggered interrupt
    z                   the machine is reset by the line above
    f, s                from f to s answers and outputs do not count, they only make the state
    t US                so many microseconds pass (decimal); every other line takes one
    x LINES TIMES NS    the LINES above, `t` aside, that many TIMES more, NS apart (all decimal)
"""

import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = os.path.join(HERE, "..", "..", "..", "tools")
QEMU = "qemu-system-x86_64"
BLOCK_MAX = 16
BASE = "2024-02-28T23:59:54"  # there is a 29 February

EVENTS = ("memory_region_ops_read", "memory_region_ops_write", "pic_set_irq", "pic_interrupt",
          "ioapic_set_irq", "ioapic_eoi_broadcast")

# What is booted: kernel parameters, and what its shell does then. When it says "power button",
# that is pressed: the one level-triggered interrupt to be had here.
BOOTS = {
    "acpi": ("", "busybox hwclock -u -r; echo +3 >/sys/class/rtc/rtc0/wakealarm;"
             " sleep 4; cat /sys/class/rtc/rtc0/time"),
    "button": ("", "busybox insmod /button.ko; echo power button; sleep 1"),
    "noapic": ("noapic reboot=pci", "busybox insmod /button.ko; echo power button; sleep 1;"
               " reboot -f"),
    "at": ("acpi=off nolapic reboot=kbd", "cat /proc/interrupts; reboot -f"),
}


class Chip:
    """Which lines of a log are a chip's, and which bits of its answers count."""

    model = ""
    ports = ()
    indexed = False  # the first two ports are an index and its data
    outputs = ()     # wires that the chip drives
    timed = False    # whether time matters to it
    lines_max = 300
    linux_only = False
    why = ()         # what does not count, and why

    def answer(self, us, port, size, value):
        """What counts of an answer. Called in order, so that it may keep account."""
        return f"{value:x}"

    def wrote(self, us, port, value):
        """Keeps account of a write, and says whether the outputs in front of it count."""
        return True


def masked(value, mask):
    return f"{value & mask:x}/{mask:x}"


class Pic(Chip):
    model = "pic8259a"
    ports = (0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1)


class Pit(Chip):
    model = "pit8254"
    ports = (0x40, 0x41, 0x42, 0x43, 0x61)
    timed = True
    why = ("low bytes of counts, and most high bytes: they change too fast",
           "OUT of counter 2 (port 61h, bit 5) when it is high, or soon to be",
           "the refresh toggle (port 61h, bit 4): QEMU turns it over at every read")
    second, low, rises = False, 0, 0

    def wrote(self, us, port, value):
        self.second = not self.second and port == 0x42
        if port == 0x42:
            self.rises = us + (value << 8 | self.low) * 1000000 // 1193182
            self.low = value
        return True

    def answer(self, us, port, size, value):
        if port == 0x61:
            return masked(value, 0xcf if value & 0x20 or us > self.rises - 300 else 0xef)
        self.second = not self.second
        # Counter 2 is programmed for two bytes by everybody. 256 counts are 215 us.
        return "?" if self.second or value & 15 else f"{value:x}~1"


class Ioapic(Chip):
    model = "ioapic"
    ports = (0xfec00000, 0xfec00010, 0xfec00040)
    indexed = True
    lines_max = 500  # Linux walks the whole table before it uses a single entry


class Rtc(Chip):
    model = "rtc146818"
    ports = (0x70, 0x71)
    indexed = True
    timed = True
    outputs = (8,)
    why = ("seconds: when exactly they were read is not known",
           "memory from 38h on but the extended memory's size: it is the firmware's own",
           "PF (register C, bit 6): on the part PIE does not gate it, on QEMU it does")
    index = 0

    def wrote(self, us, port, value):
        if port == 0x70:
            self.index = value & 0x7f
        return True

    def answer(self, us, port, size, value):
        if port == 0x71 and (self.index == 0 or 0x38 <= self.index < 0x5b):
            return "?"
        return masked(value, 0xbf) if port == 0x71 and self.index == 0xc else f"{value:x}"


class I8042(Chip):
    model = "i8042"
    ports = (0x60, 0x64)
    outputs = (1, 12)
    linux_only = True
    why = ("the firmware's part: skep starts as a firmware leaves the controller",
           "status, bit 2: on the part it is bit 2 of the command byte, QEMU sets it for good",
           "status, bit 3: on the part it says which port was written last, QEMU never clears it",
           "what the mouse says: skep has none")
    command, mouse = 0, False

    def wrote(self, us, port, value):
        counts = not self.mouse
        self.mouse = port == 0x60 and self.command == 0xd4
        self.command = value if port == 0x64 else 0
        return counts

    def answer(self, us, port, size, value):
        if self.mouse:
            return "?"
        return masked(value, 0xf3) if port == 0x64 else f"{value:x}"


class Uart(Chip):
    model = "uart8250"
    ports = tuple(range(0x3f8, 0x400))
    outputs = (4,)
    why = ("the interrupt while OUT2 is off: QEMU does not gate it, a PC does",)
    mcr = 0

    def wrote(self, us, port, value):
        counts = self.mcr & 8
        if port == 0x3fc:
            self.mcr = value
        return counts


class Pm(Chip):
    model = "acpi_pm"
    ports = tuple(range(0x600, 0x610))
    outputs = (9,)
    why = ("the timer (608h): it changes too fast",
           "SCI_EN (604h, bit 0): skep has no legacy mode, in which QEMU starts")

    def answer(self, us, port, size, value):
        if port == 0x608:
            return "?"
        return masked(value, 0xfffe) if port == 0x604 else f"{value:x}"


class Port92(Chip):
    model = "port92"
    ports = (0x92,)
    why = ("what is read before the first write: skep starts with A20 open",)
    written = False

    def wrote(self, us, port, value):
        self.written = True
        return True

    def answer(self, us, port, size, value):
        return f"{value:x}" if self.written else "?"


class Cf9(Chip):
    model = "pci_host"
    ports = (0xcf9,)


class Post(Chip):
    model = "post_port"
    ports = (0x80,)


TRACES = {
    "pic8259a-acpi": (Pic, "acpi"),
    "pic8259a-noapic": (Pic, "noapic"),
    "pic8259a-at": (Pic, "at"),
    "pit8254-acpi": (Pit, "acpi"),
    "pit8254-at": (Pit, "at"),
    "ioapic-button": (Ioapic, "button"),
    "rtc146818-acpi": (Rtc, "acpi"),
    "rtc146818-at": (Rtc, "at"),
    "i8042-acpi": (I8042, "acpi"),
    "i8042-at": (I8042, "at"),
    "uart8250-acpi": (Uart, "acpi"),
    "acpi_pm-acpi": (Pm, "acpi"),
    "port92-acpi": (Port92, "acpi"),
    "pci_host-noapic": (Cf9, "noapic"),
    "post_port-at": (Post, "at"),
}

LINE = re.compile(r"\d+@(\d+\.\d+):(\w+) (.*)")
ACCESS = re.compile(r"cpu -?\d+ mr \w+ addr 0x(\w+) value 0x(\w+) size (\d+) name '(.*)'")
WIRE = re.compile(r"master (\d) irq (\d) level (\d)")
PIN = re.compile(r"vector: (\d+) level: (\d)")


def record(boot, initrd, kernel, log):
    """Boots once, with QEMU's trace in the file log."""
    parameters, commands = BOOTS[boot]
    console = log + ".console"
    arguments = [QEMU, "-accel", "tcg", "-machine", "pc,hpet=off", "-cpu", "EPYC,-rdrand",
                 "-m", "256M", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                 "-rtc", f"base={BASE},clock=vm", "-serial", f"file:{console}",
                 "-monitor", "stdio", "-kernel", kernel, "-initrd", initrd,
                 "-append", f'console=ttyS0 quiet panic=-1 {parameters} RUN="{commands}"',
                 "-D", log, "-msg", "timestamp=on"]
    for event in EVENTS:
        arguments += ["-trace", event]
    pressed, said, until = False, "", time.monotonic() + 120
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, text=True) as qemu:
        while qemu.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
            if os.path.exists(console):
                with open(console, encoding="ascii", errors="replace") as file:
                    said = file.read()
            if not pressed and "power button" in said:
                qemu.stdin.write("system_powerdown\n")
                qemu.stdin.flush()
                pressed = True
        if qemu.poll() is None:
            qemu.kill()
    if qemu.returncode or "user space after" not in said:
        sys.exit(f"record: {boot} did not come to user space:\n{said}")


def read_log(path):
    """The log as (microseconds since the first access, event, fields)."""
    start = None
    with open(path, encoding="ascii", errors="replace") as log:
        for line in log:
            match = LINE.match(line)
            if not match:
                continue
            us, fields = round(float(match[1]) * 1e6), match[3]
            if match[2].startswith("memory_region"):
                start = start or us
                fields = ACCESS.match(fields)
                fields = fields and (int(fields[1], 16), int(fields[2], 16), int(fields[3]),
                                     fields[4])
            if fields:
                yield max(us - (start or us), 0), match[2], fields


def landmarks(path):
    """When firmware has read the last of the kernel, and the port of the last access of all."""
    linux, last = 0, None
    for us, event, fields in read_log(path):
        if event.startswith("memory_region") and fields[0] < 0x10000:
            last = fields[0]
            if fields[3].startswith("fwcfg"):
                linux = us
    return linux, last


def wire(event, fields):
    """A wire into the interrupt chips of this event: (gsi, level), or None."""
    if event != "pic_set_irq":
        return None
    master, irq, level = map(int, WIRE.match(fields).groups())
    return (irq + (0 if master else 8), level) if (master, irq) != (1, 2) else None


def interrupts(chip, event, fields, level):
    """What an interrupt chip is told, and what it says, as a line; or None."""
    if chip.model == "pic8259a":
        changed = wire(event, fields)
        if changed and level.get(changed[0], 0) != changed[1]:
            return f"i {changed[0]} {changed[1]}"
        if event == "pic_interrupt":
            return f"a {int(fields.split()[-1]):x}"
    if chip.model == "ioapic":
        if event == "ioapic_set_irq":
            gsi, on = map(int, PIN.match(fields).groups())
            if level.get(gsi, 0) != on:
                level[gsi] = on
                return f"i {gsi} {on}"
        if event == "ioapic_eoi_broadcast":
            return f"e {int(fields.split()[-1]):x}"
        # Of what is there, the local APIC's registers begin at 20h.
        if event.startswith("memory_region") and fields[3] == "apic-msi" and not fields[0] & 0xff0:
            return f"m {fields[0]:x} {fields[1]:x}"
    return None


def select(chip, path, resets):
    """The lines of a trace as (microseconds, text)."""
    (linux, last), started, level, told = landmarks(path), False, {}, {}
    for us, event, fields in read_log(path):
        if not started and us > linux:
            started = True
            yield us, "# Linux starts."
            if chip.linux_only:
                yield us, "s"
        line = interrupts(chip, event, fields, level)
        if line:
            yield us, line
        changed = wire(event, fields)
        if changed and chip.model != "ioapic":
            level[changed[0]] = changed[1]
        if not event.startswith("memory_region") or fields[0] not in chip.ports:
            continue
        port, value, size, _ = fields
        if event.endswith("read"):
            yield us, f"r {port:x} {size} {chip.answer(us, port, size, value)}"
        else:
            if chip.wrote(us, port, value):
                for gsi in chip.outputs:
                    if told.get(gsi, 0) != level.get(gsi, 0):
                        told[gsi] = level[gsi]
                        yield us, f"o {gsi} {told[gsi]}"
            yield us, f"w {port:x} {size} {value:x}"
    if resets and last in chip.ports:
        yield us, "z"


def clock_lead(lines):
    """How long the clock ran before the first access: its alarm came just behind a whole second."""
    for us, text in lines:
        if text == "o 8 1":
            return -(us - 200) % 1000000
    return 0


def pair(chip, lines):
    """Makes one line of a write to the index port and the access to the data port behind it."""
    index, out = None, []
    for us, text in lines:
        word = text.split()
        if index and word[0] in "rw" and int(word[1], 16) == chip.ports[1]:
            out[-1] = (us, f"{word[0].upper()} {index} {word[3]}")
            index = None
            continue
        index = None
        if word[0] == "w" and int(word[1], 16) == chip.ports[0]:
            index = word[3]
        out.append((us, text))
    return out


def repeats(lines, at):
    """The block at the index that saves most lines by its repetition: (length, times more)."""
    best = (0, 0)
    for length in range(1, BLOCK_MAX + 1):
        block = [text for _, text in lines[at:at + length]]
        times = 0
        while [text for _, text in
               lines[at + (times + 1) * length:at + (times + 2) * length]] == block:
            times += 1
        if length * times > max(2, best[0] * best[1]):
            best = (length, times)
    return best


def compress(lines, timed):
    """Puts time in, and repetitions together."""
    out, clock, at = [], 0, 0

    def emit(us, text):
        nonlocal clock
        if timed and us - clock >= 100:
            out.append(f"t {us - clock}")
            clock = us
        out.append(text)
        clock += not text.startswith("#")

    while at < len(lines):
        length, times = repeats(lines, at)
        for us, text in lines[at:at + max(length, 1)]:
            emit(us, text)
        at += max(length, 1)
        if times:
            last = lines[at + times * length - 1][0]
            apart = max(last - clock, 0) * 1000 // times if timed else 0
            out.append(f"x {length} {times} {apart}")
            at += times * length
            clock = max(last, clock)
    return out


def convert(name, log, kernel, version):
    kind, boot = TRACES[name]
    chip = kind()
    parameters, commands = BOOTS[boot]
    lines = list(select(chip, log, "reboot" in commands))
    lead = clock_lead(lines)
    lines = [(us + lead, text) for us, text in lines]
    if chip.indexed:
        lines = pair(chip, lines)
    lines = compress(lines, chip.timed)
    head = [f"# {chip.model}, as firmware and Linux program it.",
            f"# {version}, machine pc, TCG; Linux {kernel}",
            " ".join(["# console=ttyS0 quiet panic=-1", *parameters.split(),
                      f'RUN="{commands}"'])]
    head += [f"# Not compared: {why}." for why in chip.why]
    head += [f"c {chip.model}"] + ["f"] * chip.linux_only
    if len(lines) > chip.lines_max:
        lines[chip.lines_max:] = [f"# Cut: {len(lines) - chip.lines_max} more lines."]
    with open(os.path.join(HERE, name + ".trace"), "w", encoding="ascii") as out:
        out.write("\n".join(head + lines) + "\n")


def tool(*arguments):
    """What one of tools/ prints."""
    return subprocess.run([os.path.join(TOOLS, arguments[0]), *arguments[1:]], check=True,
                          text=True, stdout=subprocess.PIPE).stdout.strip()


def work(names, logs):
    """Records what is not in the directory logs yet, and converts it."""
    tool("testbed", "prepare")
    image = tool("testbed", "kernel")
    kernel = os.path.basename(image).removeprefix("vmlinuz-")
    qemu = subprocess.run([QEMU, "--version"], check=True, text=True, stdout=subprocess.PIPE)
    initrd = os.path.join(logs, "initrd")
    button = os.path.join(os.path.dirname(image), "..", "lib", "modules", kernel, "kernel",
                          "drivers", "acpi", "button.ko")
    tool("mkinitramfs", initrd, "button.ko=" + button)
    for boot in sorted({TRACES[name][1] for name in names}):
        if not os.path.exists(os.path.join(logs, boot)):
            record(boot, initrd, image, os.path.join(logs, boot))
    for name in names:
        convert(name, os.path.join(logs, TRACES[name][1]), kernel, qemu.stdout.split("\n")[0])


def main(arguments):
    logs = None
    if arguments[:1] == ["--log"] and len(arguments) > 1:
        logs, arguments = arguments[1], arguments[2:]
    names = [os.path.basename(name).removesuffix(".trace") for name in arguments] or list(TRACES)
    if not set(names) <= set(TRACES):
        print(__doc__, "Traces:", *TRACES, file=sys.stderr)
        sys.exit(125)
    if logs:
        os.makedirs(logs, exist_ok=True)
        work(names, logs)
        return
    with tempfile.TemporaryDirectory() as scratch:
        work(names, scratch)


main(sys.argv[1:])
