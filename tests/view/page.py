#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The page of `skep trace --page`, clicked through in a headless Chromium: a trace of a million events,
and one of texts that would like to be markup. Prints a line a test.

usage: tests/view/page.py BUILD [--measure]
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from webdriver import Browser  # noqa: E402

EVENTS = 1000000
LARGEST = 15 << 20
HOSTILE = "</script><img src=x onerror=\"document.title='bad'\"><script>bad()</script>'&amp;<!--"

FAILED = []


def check(name, good, saw=""):
    print(f"{'ok' if good else 'not ok'} {name}", flush=True)
    if not good:
        FAILED.append(name)
        print(f"# saw: {saw}", flush=True)


def same(name, expected, got):
    check(name, expected == got, f"{got!r} instead of {expected!r}")


def number(text):
    return int(text.replace("\u202f", "").replace(",", ""))


class Page:
    """What a person can do with the page, and see of it."""

    def __init__(self, browser):
        self.b = browser

    def open(self, path):
        self.b.open("file://" + urlpath(path))
        ready = self.b.wait("return document.documentElement.dataset.ready")
        check(f"{os.path.basename(path)[:20]}: it opens", ready == "yes", self.text("#facts"))

    def get(self, what):
        return self.b.run(f"return skepTrace.{what}")

    def text(self, css):
        return self.b.run("return document.querySelector(arguments[0]).textContent", css)

    def view(self):
        return self.b.run("return [skepTrace.view.from, skepTrace.view.to]")

    def search(self, words):
        """Typed letter by letter; what is in between may be looked for, too."""
        self.b.type("#search", words)
        self.b.wait("return skepTrace.state.words.join(' ') === arguments[0]", words)
        self.settle()

    def settle(self):
        """What has been asked for is drawn, and the figures are those of what is seen."""
        self.b.wait("return !skepTrace.busy()")

    def box(self, css):
        r = self.b.run("const r = document.querySelector(arguments[0]).getBoundingClientRect();"
                       "return [r.left, r.top, r.width, r.height]", css)
        return r

    def table(self, css):
        """The cells of a panel's first table, a list a line, without its heading."""
        return self.b.run("""
            const t = document.querySelector(arguments[0] + ' table');
            return t ? [...t.rows].slice(1).map((r) => [...r.cells].map((c) => c.textContent)) : []
            """, css)

    def lines(self):
        return self.b.run("return [...document.querySelectorAll('#list .event')]"
                          ".map((e) => [Number(e.dataset.event), e.lastChild.textContent])")

    def pixels(self):
        """How many different colours the timeline shows."""
        return self.b.run("""
            const c = document.querySelector('#timeline'), seen = new Set();
            const d = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height)
                .data.buffer);
            for (let i = 0; i < d.length; i += 3) seen.add(d[i]);
            return seen.size""")


def urlpath(path):
    from urllib.parse import quote
    return quote(os.fsencode(path))


def opening(p, path):
    p.open(path)
    facts = p.text("#facts")
    check("it says how many events there are", facts.startswith("1\u202f000\u202f00"), facts)
    rows = p.b.run("return skepTrace.rows.map((r) => r.title)")
    same("a row for each vCPU, worker, interrupt and device",
         ["vcpu0", "vcpu1", "vcpu2", "vcpu3", "worker0", "worker1", "control", "disk0 message 1",
          "gsi 0", "net0 message 1", "disk0", "ioapic", "net0", "pic", "pit0", "uart0"],
         rows[:7] + sorted(rows[7:10]) + sorted(rows[10:]))
    same("it loads nothing", 0, p.b.run("return performance.getEntriesByType('resource').length"))
    check("it is drawn", p.pixels() > 20, p.pixels())
    stats = p.table("#stats")
    same("the kinds add up", p.get("events"), sum(number(line[1]) for line in stats))


def zooming(p):
    left, top, width, height = p.box("#timeline")
    x, y = int(left + width * 0.4), int(top + height / 2)
    at = p.b.run("return skepTrace.tOf(arguments[0])", x - left)
    before = p.view()
    for _ in range(3):
        p.b.wheel(x, y, -400)
    p.settle()
    after = p.view()
    check("the wheel zooms", after[1] - after[0] < (before[1] - before[0]) / 4, after)
    moved = p.b.run("return skepTrace.tOf(arguments[0])", x - left) - at
    check("at the pointer", abs(moved) < (after[1] - after[0]) / 200, moved)
    p.b.mouse(("move", x, y), "down", ("move", x - 200, y), "up")
    p.settle()
    dragged = p.view()
    size = after[1] - after[0]
    check("dragging moves", abs(dragged[0] - after[0] - 200 / width * size) < size / 50, dragged)
    p.b.keys("+")
    p.settle()
    check("plus zooms", p.view()[1] - p.view()[0] < size * 0.7, p.view())
    p.b.keys("RIGHT")
    p.settle()
    check("arrows move", p.view()[0] > dragged[0], p.view())
    p.b.keys("HOME")
    p.settle()
    same("Home shows everything", before, p.view())


def looking(p):
    p.b.run("skepTrace.show(400e6, 400.5e6)")
    p.search("uart0 thr")
    events = [e for e, words in p.lines() if words.startswith("uart0 THR")]
    p.b.click("#clear")
    p.settle()
    check("the list has accesses by the names of their registers", events, p.lines())
    x, y = p.b.run("return skepTrace.place(arguments[0])", events[0])
    p.b.mouse(("move", x, y))
    p.b.wait("return !document.querySelector('#tip').hidden")
    tip = p.b.run("return document.querySelector('#tip').innerText")
    check("the pointer on an event shows it decoded",
          "uart0 THR" in tip and "0x3f8" in tip and "register write" in tip, tip)
    p.b.mouse("down", "up")
    same("a click marks it", events[0], p.get("state.event"))
    same("in the list as well", str(events[0]), p.b.run(
        "return document.querySelector('#list .here').dataset.event"))
    p.b.keys("n")
    check("N goes to the row's next", p.get("state.event") > events[0], p.get("state.event"))
    p.b.keys("p")
    same("P goes back", events[0], p.get("state.event"))
    p.b.keys("ESCAPE")


def filtering(p):
    p.b.run("skepTrace.show(0, 1e12)")
    total = p.get("events")
    p.search("pic ocw2")
    count = p.get("matched")
    ended = p.table("#irqs")
    same("words leave the events that have all of them",
         {"pic0 OCW2 specific EOI 0"}, {words for _, words in p.lines()})
    p.b.click("#clear")
    p.settle()
    same("all of them come back", total, p.get("matched"))
    ticks = {line[0]: number(line[1]) for line in p.table("#irqs") if line[1]}
    same("there were as many as ticks", ticks.get("gsi 0"), count)
    same("words leave no interrupts that have none of them", [], ended)
    chip = p.b.run("const c = [...document.querySelectorAll('.chip')].find((c) =>"
                   "c.textContent.startsWith('register write')); c.id = 'writes';"
                   "return c.querySelector('b').textContent")
    p.b.click("#writes")
    p.settle()
    same("a kind can be left out", total - number(chip), p.get("matched"))
    p.b.click("#writes")
    p.b.run("""const s = document.querySelector('#only');
        s.value = [...s.options].find((o) => o.textContent.startsWith('disk0 (')).value;
        s.dispatchEvent(new Event('change'))""")
    p.settle()
    same("a row can be had alone", {"disk0"}, {words.split()[0] for _, words in p.lines()})
    p.b.click("#clear")
    p.settle()


def figures(p):
    exits = p.table("#exits")
    same("exits by their kinds", {"port out", "port in", "memory write"},
         {line[0] for line in exits})
    blank = p.b.run("""const c = document.querySelector('#exits canvas');
        return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.every((v) => !v)""")
    check("a histogram of how long they took", blank is False, blank)
    lines = p.table("#irqs")
    check("latencies of interrupts", [line for line in lines if line[0] == "gsi 0" and
                                      line[2] == "taken" and all(line[3:])] and
          [line for line in lines if line[2] == "ended" and all(line[3:])], lines)
    same("phases", ["assembly", "loader", "entry", "guest", "end"],
         [line[0] for line in p.table("#boot")])
    same("chains of each queue's device", ["disk0", "net0"],
         sorted(line[0] for line in p.table("#queues")))
    left, top, width, height = p.box("#timeline")
    p.b.mouse(("move", left + width * 0.3, top + height / 2), "down",
              ("move", left + width * 0.5, top + height / 2), "up", shift=True)
    p.settle()
    same("shift and dragging select", "selected", p.text("#stats .scope"))
    part = p.get("state.selection")
    whole = p.view()
    check("what was dragged over",
          abs((part["to"] - part["from"]) / (whole[1] - whole[0]) - 0.2) < 0.01, part)
    some = sum(number(line[1]) for line in p.table("#stats"))
    check("the figures are those of the selection",
          0 < some < p.get("events") and f"{some:,}".replace(",", "\u202f") in
          p.text("#stats .empty"), some)
    p.b.keys("z")
    p.settle()
    same("Z zooms to it", [part["from"], part["to"]], p.view())
    p.b.keys("ESCAPE", "0")
    p.settle()


def themes(p):
    def back():
        return p.b.run("return getComputedStyle(document.body).backgroundColor")
    before, name = back(), p.b.run("return document.documentElement.dataset.theme")
    p.b.keys("t")
    check("T changes dark and light", back() != before and
          p.b.run("return document.documentElement.dataset.theme") != name, back())
    p.b.keys("t")
    p.b.click("#help")
    check("there is help", p.b.run("return document.querySelector('#keys').open"))
    p.b.keys("ESCAPE")
    same("nothing was complained of", [], p.b.complaints())


def hostile(b, skep, maker, scratch):
    """The name of the file and a mark of the guest's are as hostile as they can be."""
    folder = os.path.join(os.fsencode(scratch), b"<")
    name = b"script><img src=x onerror=\"document.title='bad'\">\x01\xff'&amp;.trace"
    os.mkdir(folder)
    trace = os.path.join(folder, name)
    page = os.path.join(scratch, "hostile.html")
    subprocess.run([maker, trace, "2000", HOSTILE], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([skep, "trace", trace, "--page", page], check=True)
    with open(page, "rb") as f:
        data = f.read()
    check("hostile texts do not stand in the page", b"onerror" not in data and b"bad(" not in data)
    p = Page(b)
    p.open(page)
    same("hostile texts are no markup", [0, 1], b.run(
        "return [document.images.length, document.scripts.length]"))
    check("and are shown", "<img src=x" in p.text("#title") and
          HOSTILE[:60] in b.run("return skepTrace.strings().join(' ')"), p.text("#title"))
    check("nothing of them ran", b.run("return document.title").startswith("skep trace: "),
          b.run("return document.title"))
    same("nothing was refused, as nothing was tried", [], b.complaints())


def part(b, skep, trace, scratch):
    """What the options of `skep trace` choose is what is drawn, and the page says so."""
    page = os.path.join(scratch, "part.html")
    subprocess.run([skep, "trace", trace, "--device", "disk0", "--to", "40ms", "--page", page],
                   check=True)
    p = Page(b)
    p.open(page)
    same("a part of a trace", ["worker0", "disk0 message 1", "disk0"],
         b.run("return skepTrace.rows.map((r) => r.title)"))
    check("no longer than asked for", 0 < p.get("events") and p.view()[1] < 40.5e6, p.view())
    check("and called one", "part" in p.text("#notice"), p.text("#notice"))


def perfetto(skep, trace, scratch):
    out = os.path.join(scratch, "trace.json")
    subprocess.run([skep, "trace", trace, "--perfetto", out], check=True)
    with open(out, encoding="utf-8") as f:
        events = json.load(f)["traceEvents"]
    open_slices, bad = {}, 0
    for e in events:
        if e["ph"] in "Bb":
            key = (e["tid"], e.get("id"))
            bad += key in open_slices
            open_slices[key] = e["ts"]
        elif e["ph"] in "Ee":
            began = open_slices.pop((e["tid"], e.get("id")), None)
            bad += began is None or began > e["ts"]
    same("Perfetto's slices begin and end in turn", (0, {}), (bad, open_slices))
    names = {e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    check("they are on the threads", {"vcpu0", "control", "worker1"} <= names, names)
    check("with registers by their names", any(e.get("name", "").startswith("pic0 OCW2") for e in events))


def over_itself(skep, trace):
    before = os.path.getsize(trace)
    for flag in ("--page", "--perfetto"):
        done = subprocess.run([skep, "trace", trace, flag, trace], capture_output=True, text=True)
        check(f"{flag} does not write over the trace", done.returncode == 125 and
              "is the trace itself" in done.stderr and os.path.getsize(trace) == before,
              done.stderr)


def measure(p, path):
    """How long a person waits; no test."""
    p.b.open("about:blank")
    began = time.monotonic()
    p.open(path)
    opened = time.monotonic() - began
    print(f"# opening: {opened:.2f} s, of which the page's own {p.get('opened') / 1000:.2f} s")
    for share in (1, 0.5, 0.1, 0.01, 0.0001):
        took = p.b.run("""const v = skepTrace.view, m = (v.least + v.most) / 2;
            const h = (v.most - v.least) / 2 * arguments[0];
            const t = performance.now(); skepTrace.show(m - h, m + h); skepTrace.draw();
            skepTrace.measure(); return performance.now() - t""", share)
        print(f"# zoomed to {share:7.2%}: {took:.0f} ms with all figures")


def main():
    build = os.path.realpath(sys.argv[1])
    skep, maker = f"{build}/skep", f"{build}/tests/trace_maker"
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        print("ok page # SKIP there is no chromium, or no chromedriver, on this host")
        return 0
    scratch = tempfile.mkdtemp(prefix="skep-page-")
    browser = None
    try:
        trace, page = f"{scratch}/million.trace", f"{scratch}/million.html"
        subprocess.run([maker, trace, str(EVENTS)], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([skep, "trace", trace, "--page", page], check=True)
        size = os.path.getsize(page)
        check(f"a page of a million events has {size >> 10} KiB, {LARGEST >> 10} at most",
              size <= LARGEST)
        try:
            browser = Browser()
        except RuntimeError as reason:
            print(f"ok the page in a browser # SKIP Chromium does not start here: "
                  f"{str(reason).splitlines()[0]}")
            return bool(FAILED)
        p = Page(browser)
        opening(p, page)
        for test in (zooming, looking, filtering, figures, themes):
            test(p)
        if "--measure" in sys.argv:
            measure(p, page)
        hostile(browser, skep, maker, scratch)
        subprocess.run([maker, trace, "20000"], check=True, stdout=subprocess.DEVNULL)
        part(browser, skep, trace, scratch)
        perfetto(skep, trace, scratch)
        over_itself(skep, trace)
    finally:
        if browser:
            browser.close()
        shutil.rmtree(os.fsencode(scratch), ignore_errors=True)
    return bool(FAILED)


sys.exit(main())
