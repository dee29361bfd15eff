"""A Chromium without a window, driven over a pipe by the DevTools protocol, with the standard library alone."""
import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), "ArrowUp": (38, ""), "Backspace": (8, "")}


def find():
    return os.environ.get("NLM_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def skip_without_browser():
    if not find():
        print(f"skipped: no Chromium ({', '.join(NAMES)}; Debian's package is chromium)")
        sys.exit(77)


class Failed(AssertionError):
    pass


class Browser:
    """One process; pages of it do not share what they store."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self.out = os.pipe()
        self.into, from_browser = os.pipe()
        command = [find(), "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self.folder.name}",
                   "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
                   "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--lang=en",
                   "--force-color-profile=srgb"]
        command.append("--no-sandbox")  # root's, and a container's, could not start; the pages are the test's own
        self.errors = tempfile.TemporaryFile()
        # The protocol wants to read its file 3 and to write 4; the shell puts the pipes there.
        script = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"'
        self.process = subprocess.Popen(["bash", "-c", script, "bash", *command], stdin=subprocess.DEVNULL,
                                        stdout=self.errors, stderr=self.errors, pass_fds=[to_browser, from_browser])
        os.close(to_browser)
        os.close(from_browser)
        self.buffer = b""
        self.last_id = 0
        self.answers = {}
        self.pages = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
            self.process.wait(20)
        except (Failed, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.out)
        os.close(self.into)
        self.errors.close()
        self.folder.cleanup()

    def log(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")[-2000:]

    def send(self, method, parameters, session=None):
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        return self.last_id

    def receive(self, seconds):
        """Takes one message, if one comes in time: an answer, or an event for its page."""
        while b"\0" not in self.buffer:
            if not select.select([self.into], [], [], seconds)[0]:
                return False
            part = os.read(self.into, 1 << 20)
            if not part:
                raise Failed(f"the browser has ended: {self.log()}")
            self.buffer += part
        text, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(text)
        if "id" in message:
            self.answers[message["id"]] = message
        elif message.get("sessionId") in self.pages:
            self.pages[message["sessionId"]].take_event(message["method"], message["params"])
        return True

    def call(self, method, parameters=None, session=None, seconds=60):
        number = self.send(method, parameters or {}, session)
        end = time.monotonic() + seconds
        while number not in self.answers:
            if not self.receive(max(0, end - time.monotonic())):
                raise Failed(f"{method} was not answered in {seconds} s: {self.log()}")
        answer = self.answers.pop(number)
        if "error" in answer:
            raise Failed(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, url, width=1280, height=800, dark=False, downloads=None):
        return Page(self, url, width, height, dark, downloads)


class Page:
    """A page in a profile of its own."""

    def __init__(self, browser, url, width, height, dark, downloads):
        self.browser = browser
        self.problems = []  # what the page wrote as an error, threw, or was not allowed to do
        self.context = browser.call("Target.createBrowserContext")["browserContextId"]
        if downloads:
            browser.call("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads),
                                                         "browserContextId": self.context})
        target = browser.call("Target.createTarget", {"url": "about:blank", "browserContextId": self.context})
        self.target = target["targetId"]
        attached = browser.call("Target.attachToTarget", {"targetId": self.target, "flatten": True})
        self.session = attached["sessionId"]
        browser.pages[self.session] = self
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            self.call(domain + ".enable")
        self.resize(width, height)
        self.set_dark(dark)
        self.go(url)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.browser.pages.pop(self.session)
        self.browser.call("Target.disposeBrowserContext", {"browserContextId": self.context})

    def take_event(self, method, event):
        if method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and event["type"] == "error":
            self.problems.append(" ".join(str(part.get("value", part.get("description"))) for part in event["args"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.problems.append(event["entry"]["text"])

    def call(self, method, **parameters):
        return self.browser.call(method, parameters, self.session)

    def go(self, url):
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def reload(self):
        self.run("window.isOld = true")
        self.call("Page.reload")
        self.wait("!window.isOld && document.readyState === 'complete'")

    def resize(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def set_dark(self, dark):
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def run(self, expression):
        """What an expression of JavaScript gives, as JSON can say it."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise Failed(f"{expression}: {details.get('exception', {}).get('description') or details['text']}")
        return answer["result"].get("value")

    def wait(self, expression, seconds=60):
        """Until an expression holds; what it gave."""
        end = time.monotonic() + seconds
        while True:
            value = self.run(expression)
            if value or value == {}:  # a node is told as {}
                return value
            if time.monotonic() > end:
                raise Failed(f"not in {seconds} s: {expression}\npage: {self.text('body')[:2000]}\n{self.problems}")
            self.browser.receive(0.02)

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def texts(self, selector):
        return self.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(node => node.innerText)")

    def count(self, selector):
        return self.run(f"document.querySelectorAll({json.dumps(selector)}).length")

    def click(self, selector):
        """With the mouse, where the node is seen."""
        box = self.wait(f"""(() => {{
            const node = document.querySelector({json.dumps(selector)});
            node?.scrollIntoView({{block: "nearest"}});
            const box = node?.getBoundingClientRect();
            return box && box.width > 0 && [box.x + box.width / 2, box.y + box.height / 2]; }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def write(self, text):
        """Into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key, shift=False, alt=False):
        modifiers = (8 if shift else 0) | (1 if alt else 0)
        code, text = KEYS[key] if key in KEYS else (ord(key.upper()), "" if alt else key)
        name = key if key in KEYS else "Key" + key.upper()
        event = {"key": key, "code": name, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def picture(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def controls(self):
        """(role, accessible name) of what can be used, as a screen reader is told."""
        roles = {"button", "link", "textbox", "checkbox", "spinbutton", "combobox", "slider", "meter", "dialog",
                 "image"}
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes
                if not node.get("ignored") and node.get("role", {}).get("value") in roles]
