"""A test case on nlm-server's page, in a browser without a window: of a server, or of a scripted one."""
import json
import unittest

import browsing
from scripted_server import Scripted
from serving import Server

IDLE = "!document.querySelector('.streaming')"
ANSWER = ".turn.assistant:last-of-type > .text"


class OnPage(unittest.TestCase):
    """Each class has a browser and a server of the small model; each test pages of its own, which must make no
    mistake but those in self.expected."""

    @classmethod
    def setUpClass(cls):
        cls.browser = browsing.Browser()
        cls.server = Server()
        _, cls.headers, cls.html = cls.server.request("GET", "/")

    @classmethod
    def tearDownClass(cls):
        cls.browser.__exit__()
        cls.server.stop()
        assert cls.server.process.returncode == 0, cls.server.log()

    def open(self, url, **options):
        page = self.browser.open(url, **options)
        self.addCleanup(page.__exit__)
        page.wait("document.querySelector('#model').textContent !== 'connecting' "
                  "|| document.querySelector('#key').open")
        self.page = page
        return page

    def scripted(self, *script, **options):
        server = Scripted(self.html, self.headers)
        server.script = list(script)
        self.addCleanup(server.close)
        return self.open(server.url, **options), server

    def ask(self, text, wait=True):
        turns = self.page.count(".turn")
        self.page.click("#question")
        self.page.write(text)
        self.page.press("Enter")
        self.page.wait(f"document.querySelectorAll('.turn').length === {turns + 2}")
        if wait:
            self.page.wait(IDLE)

    def set(self, name, value):
        self.page.run(f"document.querySelector('#{name}').focus(); document.activeElement.select()")
        self.page.write(value) if value else self.page.press("Backspace")

    def press_tool(self, does, turn=-1):
        number = self.page.count(".turn") + 1 + turn if turn < 0 else turn + 1
        self.page.click(f".turn:nth-of-type({number}) [data-does={does}]")

    def tearDown(self):
        self.assertEqual(getattr(self, "expected", []), self.page.problems if hasattr(self, "page") else [])
