# SPDX-License-Identifier: BSD-2-Clause
"""A headless Chromium, driven over WebDriver (W3C) with nothing but the standard library."""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # Section 12.2: the web element identifier.
KEYS = {"ESCAPE": "\ue00c", "HOME": "\ue011", "LEFT": "\ue012", "UP": "\ue013", "RIGHT": "\ue014",
        "DOWN": "\ue015", "SHIFT": "\ue008"}


class Browser:
    def __init__(self, width=1400, height=900, dark=False):
        self.home = tempfile.mkdtemp(prefix="skep-browser-")
        self.session = None
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL, text=True,
                                       env={**os.environ, "HOME": self.home})
        self.port = None
        for line in self.driver.stdout:
            found = re.search(r"successfully on port (\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        if not self.port:
            self.close()
            raise RuntimeError("chromedriver did not start")
        options = ["--headless=new", f"--window-size={width},{height}", "--disable-gpu",
                   "--force-device-scale-factor=1", "--disable-dev-shm-usage",
                   f"--user-data-dir={self.home}/profile", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update"]
        if dark:
            options.append("--force-dark-mode")
        # Chromium refuses to be root in its sandbox, and some hosts refuse it the sandbox. The
        # pages are ours.
        try:
            if os.geteuid() == 0:
                options.append("--no-sandbox")
            self.begin(options)
        except RuntimeError:
            try:
                self.begin([*options, "--no-sandbox"])
            except RuntimeError:
                self.close()
                raise

    def begin(self, options):
        wanted = {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": {"args": options},
            "goog:loggingPrefs": {"browser": "ALL"}}}
        self.session = self.call("POST", "/session", {"capabilities": wanted})["sessionId"]

    def call(self, method, path, body=None):
        at = f"http://127.0.0.1:{self.port}"
        at += path if path == "/session" else f"/session/{self.session}{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(at, data, {"Content-Type": "application/json"},
                                         method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise RuntimeError(f"{value['error']}: {value['message'][:500]}") from None

    def close(self):
        if self.session:
            try:
                self.call("DELETE", "")
            except (RuntimeError, OSError):
                pass
        self.driver.terminate()
        self.driver.wait(20)
        self.driver.stdout.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def run(self, script, *args):
        """The value of a function's body."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def wait(self, script, *args):
        """Until the script returns something, 30 seconds at most."""
        return self.call("POST", "/execute/async", {"script": """
            const done = arguments[arguments.length - 1], args = [...arguments].slice(0, -1);
            const ask = () => { const v = (function() { %s }).apply(null, args);
                v ? done(v) : setTimeout(ask, 15); };
            ask();""" % script, "args": list(args)})

    def find(self, css):
        return self.call("POST", "/element", {"using": "css selector", "value": css})

    def click(self, css):
        self.call("POST", f"/element/{self.find(css)[ELEMENT]}/click", {})

    def type(self, css, text):
        self.call("POST", f"/element/{self.find(css)[ELEMENT]}/value", {"text": text})

    def keys(self, *keys):
        acts = []
        for key in keys:
            key = KEYS.get(key, key)
            acts += [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self.act([{"type": "key", "id": "keys", "actions": acts}])

    def act(self, actions):
        self.call("POST", "/actions", {"actions": actions})

    def mouse(self, *acts, shift=False):
        """Acts of a mouse: ("move", x, y), "down", "up", in pixels of the page."""
        steps = [{"type": "pointerMove", "duration": 0, "x": int(a[1]), "y": int(a[2])}
                 if isinstance(a, tuple) else
                 {"type": "pointerDown" if a == "down" else "pointerUp", "button": 0} for a in acts]
        actions = [{"type": "pointer", "id": "mouse", "actions": steps,
                    "parameters": {"pointerType": "mouse"}}]
        if shift:
            held = [{"type": "keyDown", "value": KEYS["SHIFT"]}]
            held += [{"type": "pause"}] * (len(steps) - 2)
            held += [{"type": "keyUp", "value": KEYS["SHIFT"]}]
            actions.insert(0, {"type": "key", "id": "held", "actions": held})
        self.act(actions)

    def wheel(self, x, y, by):
        self.act([{"type": "wheel", "id": "wheel", "actions": [
            {"type": "scroll", "x": int(x), "y": int(y), "deltaX": 0, "deltaY": by,
             "duration": 0}]}])

    def screenshot(self, path):
        with open(path, "wb") as out:
            out.write(base64.b64decode(self.call("GET", "/screenshot")))

    def complaints(self):
        """What the page said on the console that is not good."""
        # A hint that is for those who read pixels, as tests do.
        return [entry["message"] for entry in self.call("POST", "/se/log", {"type": "browser"})
                if entry["level"] in ("SEVERE", "WARNING") and
                "willReadFrequently" not in entry["message"]]
