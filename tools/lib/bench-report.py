"""The figures of tools/bench: run the demo's rounds, and make one JSON file and tables of it all.

  bench-report.py demo ROUNDS SKEP             one line a round on stdout
  bench-report.py trace ROUNDS SKEP            the same for what recording costs
  bench-report.py report DIR JSON SKEP KERNEL SCENARIO…
                                               read DIR/SCENARIO.runs; SKEP may be empty

A line of a .runs file is: monitor, round, JSON object of figures, with tabs between. Round 0 is the
warm-up: only its count of exits to user space is used. A boot that failed has {"failed": 1}.
"""

import datetime
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

CLOCKS = {
    "boot-counted": "the counted clock, one processor",
    "boot-real": "the real clock, two processors in the bed",
    "blk-counted": "the counted clock, one processor",
    "blk-real": "the real clock, two processors in the bed",
    "brd-counted": "the counted clock, one processor",
    "brd-real": "the real clock, two processors in the bed",
    "net-counted": "the counted clock, one processor",
    "net-real": "the real clock, two processors in the bed",
    "demo": "the real clock, this machine's own /dev/kvm",
    "matrix": "the real clock, this machine's own /dev/kvm",
    "payload-direct": "the real clock, this machine's own /dev/kvm",
    "payload-cached": "the real clock, this machine's own /dev/kvm",
    "trace": "processor time, this machine's own /dev/kvm",
}

# The figure that a scenario is about, and that ratios are of; its unit by its name.
MAIN = {
    "boot": "time_ms",
    "blk": "r4k_d1_us",
    "net": "rtt_us",
    "demo": "time_ms",
    "matrix": "time_ms",
    "payload": "r4k_d32_us",
    "trace": "cpu_ms",
}

# Figure, heading, digits: what the tables show of all that the JSON file has.
COLUMNS = {
    "boot": [
        ("cpu_ms", "cpu ms", 0),
        ("beyond_kb", "own KiB", 0),
        ("private_kb", "private", 0),
        ("threads", "threads", 0),
        ("minor_faults", "faults", 0),
        ("kvm.exits", "exits", 0),
        ("user_exits", "to user", 0),
        ("kvm.io_exits", "io", 0),
        ("kvm.mmio_exits", "mmio", 0),
        ("kvm.halt_exits", "halt", 0),
        ("kvm.pf_taken", "npf", 0),
    ],
    "blk": [
        ("r4k_d1_us", "4k d1 us", 1),
        ("r4k_d32_us", "4k d32", 1),
        ("r128k_d8_us", "128k d8", 1),
        ("r128k_d8_mbs", "MB/s", 0),
    ],
    "net": [
        ("out_mbs", "out MB/s", 0),
        ("in_mbs", "in MB/s", 0),
    ],
    "payload": [],
    "matrix": [],
    "trace": [("time_ms", "wall ms", 0)],
    "demo": [
        ("first_entry_ms", "to entry", 2),
        ("beyond_kb", "own KiB", 0),
        ("exits", "exits", 0),
    ],
}


def demo(rounds, skep):
    """The built-in guest, each round a process of its own; memory and times as skep tells them."""
    for number in range(rounds + 1):
        with tempfile.NamedTemporaryFile(suffix=".json") as result:
            begin = time.perf_counter_ns()
            done = subprocess.run(
                [skep, "run", "--timeout", "30", "--result", result.name],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False,
            )
            end = time.perf_counter_ns()
            if done.returncode:
                sys.exit(f"bench: the demo ended with {done.returncode}:\n{done.stdout.decode()}")
            said = json.load(result)
        figures = {
            "time_ns": end - begin,
            "first_entry_ms": said["times_us"]["first_entry"] / 1000,
            "beyond_kb": said["counters"]["own_bytes"] / 1024,
            "guest_kb": said["counters"]["guest_bytes"] / 1024,
            "exits": said["counters"]["exits"],
            "host_kvm": said["host"]["kvm"],
        }
        print("skep", number, json.dumps(figures), sep="\t")


def trace(rounds, skep):
    """A guest that makes 100,000 exits, recorded and not, by turns."""
    guest = skep.rpartition("/")[0] + "/tests/guest/exits.bz"
    for number in range(rounds + 1):
        with tempfile.NamedTemporaryFile(suffix=".trace") as file:
            for name, options in ("skep", []), ("trace", ["--trace", file.name]):
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                begin = time.perf_counter_ns()
                subprocess.run(
                    [skep, "run", "-k", guest, "-a", "exits=100000", *options],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True,
                )
                end = time.perf_counter_ns()
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
                figures = {"cpu_ns": round(cpu * 1e9), "time_ns": end - begin}
                print(name, number, json.dumps(figures), sep="\t")


def family(scenario):
    """boot-counted and boot-real are told alike, and so are disks on one thing or another."""
    name = scenario.split("-", maxsplit=1)[0]
    return "blk" if name == "brd" else name


def in_units(figures, unit):
    """Times are told in milliseconds, or in microseconds for what is that short."""
    scale = {"_ms": 1e6, "_us": 1e3}[unit]
    told = {
        name[:-3] + unit if name.endswith("_ns") else name:
        value / scale if name.endswith("_ns") else value
        for name, value in figures.items() if not name.startswith("kvm.") or value
    }
    if "r128k_d8_us" in told:
        told["r128k_d8_mbs"] = 131072 / told["r128k_d8_us"]
    return told


def read_runs(path, unit):
    """The rounds of each monitor: a list of figures, the warm-up first."""
    monitors = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            name, _, figures = line.rstrip("\n").split("\t")
            monitors.setdefault(name, []).append(in_units(json.loads(figures), unit))
    return monitors


def summary(rounds, main_figure):
    """Of the timed rounds the medians, the times one by one; of the warm-up the user exits."""
    failures = sum("failed" in r for r in rounds)
    warm_up, *timed = [r for r in rounds if "failed" not in r]
    figures = {"failures": failures}
    for name in timed[0]:
        values = [r[name] for r in timed if name in r]
        figures[name] = (
            values[0] if isinstance(values[0], str) else round(statistics.median(values), 3)
        )
    figures.update({k: v for k, v in warm_up.items() if k.startswith("user_exits")})
    times = [round(r[main_figure], 3) for r in timed]
    figures["rounds"] = times
    figures["spread"] = round((max(times) - min(times)) / figures[main_figure], 4)
    return figures


def scenario_report(scenario, runs):
    """One scenario, with every monitor's time as a multiple of the first's: skep's if it is in."""
    main_figure = MAIN[family(scenario)]
    whole = {n: r for n, r in runs.items() if sum("failed" not in one for one in r) > 1}
    monitors = {name: summary(rounds, main_figure) for name, rounds in whole.items()}
    base = "skep" if "skep" in monitors else next(iter(monitors))
    ratios = {
        name: round(m[main_figure] / monitors[base][main_figure], 3)
        for name, m in monitors.items()
    }
    return {
        "clock": CLOCKS[scenario],
        "rounds": len(monitors[base]["rounds"]),
        "ratio_to": base,
        "ratios": ratios,
        "monitors": monitors,
        "without_figures": sorted(set(runs) - set(whole)),
    }


def print_table(scenario, report):
    """Medians, one monitor a line, the quickest first."""
    columns = COLUMNS[family(scenario)]
    main_figure = MAIN[family(scenario)]
    print(f"\n{scenario}: {report['clock']}, medians of {report['rounds']} rounds")
    heads = "".join(f"{head:>9}" for _, head, _ in columns)
    print(f"{'':<14}{main_figure[-2:]:>9}{'spread':>9}{'x ' + report['ratio_to']:>14}{heads}")
    order = sorted(report["monitors"].items(), key=lambda item: item[1][main_figure])
    for name, figures in order:
        line = f"{name:<14}{figures[main_figure]:>9.1f}{figures['spread'] * 100:>8.1f}%"
        line += f"{report['ratios'][name]:>14.3f}"
        for key, _, digits in columns:
            line += f"{figures.get(key, 0):>9.{digits}f}"
        if figures["failures"]:
            line += f"  ({figures['failures']} failed and repeated)"
        print(line)
    for name in report["without_figures"]:
        print(f"{name:<14} no figures: it failed each time, or all but once")


def first_line(*command):
    """What a command says first; nothing if it cannot be run."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""
    return said.partition("\n")[0]


def processor():
    """The name of the machine's processor."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return ""


def main():
    """See the top of the file."""
    if sys.argv[1] == "demo":
        demo(int(sys.argv[2]), sys.argv[3])
        return
    if sys.argv[1] == "trace":
        trace(int(sys.argv[2]), sys.argv[3])
        return
    directory, target, skep, guest_kernel = sys.argv[2:6]
    whole = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "processor": processor(),
        "kernel": platform.release(),
        "guest_kernel": guest_kernel,
        "qemu": first_line("qemu-system-x86_64", "--version"),
        "skep": first_line(skep, "--version") if skep else "",
        "commit": first_line("git", "describe", "--always", "--dirty"),
        "scenarios": {},
    }
    for scenario in sys.argv[6:]:
        report = scenario_report(
            scenario, read_runs(f"{directory}/{scenario}.runs", MAIN[family(scenario)][-3:])
        )
        whole["scenarios"][scenario] = report
        print_table(scenario, report)
    with open(target, "w", encoding="utf-8") as out:
        json.dump(whole, out, indent=2)
        out.write("\n")
    print(f"\nall figures: {target}")


main()
