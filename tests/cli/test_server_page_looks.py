"""nlm-server's page in a browser: what a model's text becomes, colours, widths, names."""
import base64
import hashlib
import json
import re
import unittest

import browsing
import serving
from page_case import ANSWER, IDLE, OnPage
from scripted_server import Fails, Says, Stream, chunk, ending

HOSTILE = """<script>window.pwned = 1</script> <img src=x onerror="window.pwned = 2"> <b>no bold</b>

<iframe srcdoc="<script>parent.pwned = 3</script>"></iframe> <style>body { display: none }</style>

[one](javascript:window.pwned=4) [two](JaVaScRiPt:pwned=5) [three](data:text/html,<script>pwned=6</script>)
[four](/slots/0) [five](vbscript:x) ![six](https://example.org/track.png) <javascript:pwned=7>
[seven](https://example.org/"onmouseover="pwned=8)

| <script>pwned=9</script> | b |
|---|---|
| <img src=x onerror=pwned=10> | `</td><script>pwned=11</script>` |

```html"><script>pwned=12</script>
</code></pre><script>window.pwned = 13</script>
```
&lt;script&gt; end of it"""

MARKDOWN = """# Title
Some **bold**, *slanted*, ***both***, ~~struck~~ and `a * b` with 2 * 3 * 4 and snake_case_name.
Next line, [a link](https://example.org/a_(b)) and https://example.org/x. Also a\\*b.

3. three
4. four
   - inner **x**
   - more

> quoted
> text

| Left | Right |
|:-----|------:|
| a \\| b | 1 |

```python
def f():
    return "*no* <em>"
```
"""


class Rendering(OnPage):
    def test_policy_allows_the_pages_own_script_and_style_alone(self):
        policy = self.headers["Content-Security-Policy"]
        for tag, name in (("script type=\"module\"", "script-src"), ("style", "style-src")):
            text = re.search(f"<{tag}>(.*?)</{tag.split()[0]}>".encode(), self.html, re.S).group(1)
            digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
            self.assertIn(f"{name} 'sha256-{digest}'", policy)
        self.assertNotIn("unsafe", policy)
        self.assertEqual(re.findall(rb"(?:src|href)=\"(?!data:|#)", self.html), [])
        for word in (b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b"document.write", b"eval("):
            self.assertNotIn(word, self.html)
        page, server = self.scripted()
        page.wait("document.querySelector('#model').textContent === 'scripted'")
        self.assertEqual(set(server.asked), {"/", "/props"})

    def test_hostile_text_stays_text(self):
        parts = [chunk(HOSTILE[i : i + 3]) for i in range(0, len(HOSTILE), 3)]
        page, server = self.scripted(Stream(*parts, ending()), Says("fine"))
        self.ask('<img src=x onerror="window.pwned = 20">')
        self.assertIsNone(page.run("window.pwned ?? null"))
        self.assertEqual(page.count("#log script, #log img, #log iframe, #log style, #log b, #log [onerror]"), 0)
        links = page.run("[...document.querySelectorAll('#log a')].map(a => [a.protocol, a.rel, a.target])")
        self.assertEqual(links, [["https:", "noopener noreferrer nofollow", "_blank"]] * len(links))
        self.assertLessEqual(len(links), 2)
        shown = page.text(ANSWER)
        for text in ("<script>window.pwned = 1</script>", '<img src=x onerror="window.pwned = 2">', "<b>no bold</b>",
                     "[one](javascript:window.pwned=4)", "[four](/slots/0)", "<javascript:pwned=7>",
                     "</td><script>pwned=11</script>", "window.pwned = 13", "&lt;script&gt;"):
            self.assertIn(text, shown)
        self.assertEqual(page.text(".turn.user > .text"), '<img src=x onerror="window.pwned = 20">')
        self.ask("<b>second</b>")
        self.assertEqual(server.bodies[1]["messages"][1]["content"], HOSTILE)
        page.run("window.pwned = undefined")
        page.reload()
        page.wait("document.querySelectorAll('.turn').length === 4")
        self.assertIsNone(page.run("window.pwned ?? null"))

    def test_markdown_becomes_nodes(self):
        page, _ = self.scripted(Says(MARKDOWN))
        self.ask("?")
        found = page.run(f"""(root => ({{
            kinds: [...root.children].map(node => node.tagName), start: root.querySelector("ol").start,
            strong: [...root.querySelectorAll("strong")].map(node => node.textContent),
            em: root.querySelectorAll("em").length, del: root.querySelector("del").textContent,
            inner: root.querySelectorAll("ol li:nth-child(2) > ul > li").length,
            cells: [...root.querySelectorAll("td")].map(node => node.textContent),
            right: root.querySelector("td.right").textContent, quote: root.querySelector("blockquote").innerText,
            code: [...root.querySelectorAll("code")].map(node => node.textContent),
            links: [...root.querySelectorAll("a")].map(node => node.href), text: root.querySelector("p").innerText }}))
            (document.querySelector("{ANSWER}"))""")
        self.assertEqual(found["kinds"], ["H3", "P", "OL", "BLOCKQUOTE", "DIV", "FIGURE"])
        self.assertEqual(found["strong"], ["bold", "both", "x"])
        self.assertEqual((found["em"], found["del"], found["start"], found["inner"]), (2, "struck", 3, 2))
        self.assertEqual((found["cells"], found["right"]), (["a | b", "1"], "1"))
        self.assertEqual(found["code"], ["a * b", 'def f():\n    return "*no* <em>"'])
        self.assertEqual(found["quote"], "quoted\ntext")
        self.assertEqual(found["links"], ["https://example.org/a_(b)", "https://example.org/x"])
        self.assertIn("2 * 3 * 4 and snake_case_name.\nNext line", found["text"])
        self.assertIn("Also a*b.", found["text"])

    def test_markdown_in_small(self):
        cases = (
            ("1. a\n  - b\n2. c", "<ol><li>a<ul><li>b</li></ul></li><li>c</li></ol>"),
            ("- a\n\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"),
            ("- a\n* b", "<ul><li>a</li></ul><ul><li>b</li></ul>"),
            ("a\n- b\nc\n\nd", "<p>a</p><ul><li>b<br>c</li></ul><p>d</p>"),
            ("- [x] a\n- [ ] b", "<ul><li>☑ a</li><li>☐ b</li></ul>"),
            ("1999. a\nb 1. c", '<ol start="1999"><li>a<br>b 1. c</li></ol>'),
            ("a\n1999. b", "<p>a<br>1999. b</p>"),
            ("* * *\n***\n---", "<hr><hr><hr>"),
            ("###x\n### y ", "<p>###x</p><h5>y</h5>"),
            ("**a*b**c* and *a **b** c*", "<p><strong>a*b</strong>c* and <em>a <strong>b</strong> c</em></p>"),
            ("a_b_c __d__ _e_ * f * ~g~", "<p>a_b_c <strong>d</strong> <em>e</em> * f * ~g~</p>"),
            ("``a`b`` `c ``", "<p><code>a`b</code> `c ``</p>"),
            ("a\\*b\\* \\[c](d)", "<p>a*b* [c](d)</p>"),
        )
        page, server = self.scripted()
        for text, html in cases:
            server.script.append(Says(text))
            page.press("n", alt=True)
            self.ask("?")
            self.assertEqual(page.run(f"document.querySelector('{ANSWER}').innerHTML"), html, text)

    def test_text_cut_anywhere_is_the_same_text(self):
        text = "né 😀 **bœuf** 漢字\n\n- a\n- b"
        whole = chunk(text) + ending()
        page, _ = self.scripted(Stream(whole.replace(b"\n", b"\r\n"), size=1), Stream(b": note\n\n" + whole, size=2))
        self.ask("one")
        first = page.run(f"document.querySelector('{ANSWER}').outerHTML")
        self.assertIn("<strong>bœuf</strong> 漢字", first)
        self.ask("two")
        self.assertEqual(page.run(f"document.querySelector('{ANSWER}').outerHTML"), first)

    def test_long_and_odd_texts_are_shown(self):
        page, server = self.scripted()
        odd = ["*" * 30000, "**a " * 8000, "_a" * 15000, "[" * 30000,
               "`" * 999 + "".join("`" * n + " " for n in range(200)),
               "[a](" * 8000, "![" * 8000, "> " * 15000, "- " * 15000, "|" * 30000 + "\n" + "|-" * 15000, "#" * 30000,
               "http://" * 4000, "\\" * 30000, "~~a " * 8000, "\n" * 30000 + "x", " " * 30000 + "x", "1. a\n\n" * 4000,
               "<" * 30000,
               "*a **b " * 4000, "a|b\n-|-\n" + "|\n" * 10000, "```\n" * 5001, "<think>" + "x" * 1000]
        for text in odd:
            server.script.append(Says(text))
            page.press("n", alt=True)
            self.ask("?")
            self.assertGreater(page.run("document.querySelector('.turn.assistant').textContent.length"), 0, text[:20])

    def test_thinking_is_apart(self):
        page, _ = self.scripted(Says("<think>\nhm *m*\n</think>\n\nThe **answer**."))
        self.ask("?")
        self.assertEqual(page.text(ANSWER), "The answer.")
        self.assertEqual(page.run("document.querySelector('.thinking > div').textContent"), "hm *m*")


class Looks(OnPage):
    COLOURS = """(() => {
        const value = name => {
            const probe = document.body.appendChild(document.createElement("p"));
            probe.style.color = `var(--${name})`;
            const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).map(Number);
            probe.remove();
            const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
            const [r, g, b] = parts.map(part => linear(part / 255));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const contrast = (a, b) => (Math.max(value(a), value(b)) + 0.05) / (Math.min(value(a), value(b)) + 0.05);
        return ["fg bg", "fg side", "fg mine", "fg code", "fg raised", "fg bad-bg", "dim bg", "dim side", "dim raised",
                "dim code", "accent bg", "accent side", "accent mine", "bad bg", "on-accent accent"]
            .map(pair => [pair, contrast(...pair.split(" "))]);
    })()"""

    def is_dark(self):
        colour = self.page.run("getComputedStyle(document.body).backgroundColor")
        return all(int(part) < 60 for part in re.findall(r"\d+", colour))

    def test_dark_and_light_by_the_system_and_by_the_switch(self):
        page, _ = self.scripted(dark=True)
        self.assertTrue(self.is_dark())
        page.set_dark(False)
        self.assertFalse(self.is_dark())
        for label, dark in (("light", False), ("dark", True)):
            page.click("#theme")
            self.assertIn(label, page.run("document.querySelector('#theme').ariaLabel"))
            self.assertEqual(self.is_dark(), dark)
            for pair, contrast in page.run(self.COLOURS):
                self.assertGreaterEqual(contrast, 4.5, (label, pair))
        page.reload()
        self.assertTrue(self.is_dark())

    def test_no_width_scrolls_sideways(self):
        wide = MARKDOWN + "\n|" + "a very long cell|" * 12 + "\n|" + "-|" * 12
        wide += "\n\n```\n" + "x" * 500 + "\n```\n" + "y" * 500
        page, _ = self.scripted(Says(wide))
        self.ask("z" * 300)
        for width in (320, 390, 700, 900, 1100, 1600):
            page.resize(width, 640)
            for key in ("", "l", "p", "g"):
                if key:
                    page.press(key, alt=True)
                found = page.run("""[document.scrollingElement.scrollWidth,
                    ...["nav", "main", "#log", "#parameters", "#engine"]
                    .map(name => document.querySelector(name)).filter(node => node.checkVisibility())
                    .map(node => node.scrollWidth - node.clientWidth)]""")
                self.assertLessEqual(found[0], width, (width, key))
                self.assertEqual(set(found[1:]), {0}, (width, key))
                box = page.run("document.querySelector('#send').getBoundingClientRect().right")
                self.assertLessEqual(box, width, (width, key))
                if key:
                    page.press(key, alt=True)

    def test_phone_shows_one_room_at_a_time(self):
        page, _ = self.scripted(Says("yes"), width=390, height=700)
        shown = ("[...document.querySelectorAll('nav, aside')].filter(node => node.checkVisibility())"
                 ".map(node => node.id).join()")
        self.assertEqual(page.run(shown), "")
        self.ask("question")
        for room in ("chats", "parameters", "engine"):
            opener = "#open-" + room
            page.click(opener)
            self.assertEqual(page.run(shown), room)
            self.assertTrue(page.run("document.querySelector('main').inert"))
            self.assertTrue(page.run(f"document.querySelector('#{room}').contains(document.activeElement)"))
            page.press("Escape")
            self.assertEqual(page.run(shown), "")
            self.assertEqual(page.run("'#' + document.activeElement.id"), opener)

    def test_every_control_has_a_name(self):
        page, server = self.scripted(Says(MARKDOWN), Says("more"))
        self.ask("?")
        self.press_tool("again")
        page.wait(f"{IDLE} && document.querySelector('{ANSWER}').innerText === 'more'")
        self.press_tool("before")
        seen = set()
        escape = lambda: page.press("Escape")
        for place, go in enumerate((
                lambda: None, lambda: page.press("p", alt=True), lambda: page.press("g", alt=True),
                lambda: page.click("#help"), escape, lambda: page.click("#open-parameters"),
                lambda: page.click("#change-key"), escape, lambda: self.press_tool("edit", 0), escape,
                lambda: page.click("#chat-list .here .icon"))):
            go()
            controls = page.controls()
            self.assertGreater(len(controls), 1)  # of a dialog that is open, its own
            self.assertEqual([control for control in controls if not control[1].strip()], [], place)
            seen.update(controls)
        for control in (("textbox", "Your message"), ("button", "Send"), ("button", "Copy this code"),
                        ("button", "Next version"), ("spinbutton", "Temperature"), ("textbox", "System prompt"),
                        ("dialog", "Keyboard shortcuts"),
                        ("textbox", "Key"), ("button", "Regenerate the answer"), ("textbox", "Your message, edited"),
                        ("textbox", "Name of the conversation"), ("meter", "slot 0: 0 of 4096 tokens, writing")):
            self.assertIn(control, seen)

    def test_what_is_copied_is_the_code(self):
        page, _ = self.scripted(Says(MARKDOWN))
        self.ask("?")
        page.run("navigator.clipboard.writeText = async text => window.copied = text; 0")
        page.click("figcaption button")
        self.assertEqual(page.wait("window.copied"), 'def f():\n    return "*no* <em>"')
        self.press_tool("copy")
        page.wait(f"window.copied === {json.dumps(MARKDOWN)}")
        self.assertEqual(page.text("#status"), "Copied.")

    def test_engine_rests_where_nobody_looks(self):
        page, server = self.scripted()
        page.press("g", alt=True)
        page.wait("document.querySelector('#figures').innerText.includes('1.0 GiB of 4.0 GiB')")
        figures = dict(zip(page.texts("#figures dt"), page.texts("#figures dd")))
        self.assertEqual((figures["Prompts from the cache"], figures["Running"]), ("75 %", "1 of 2"))
        while server.asked.count("/metrics") < 2:
            self.browser.receive(0.02)
        page.run("Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
                 "document.dispatchEvent(new Event('visibilitychange'))")
        asked = server.asked.count("/slots")
        page.run("new Promise(done => setTimeout(done, 2500))")
        self.assertLessEqual(server.asked.count("/slots"), asked + 1)
        server.answers["/metrics"] = Fails(404, "server.metrics is off")
        page.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
        page.wait("document.querySelector('#engine-note').innerText.includes('no metrics')")
        page.press("Escape")
        self.assertFalse(page.run("document.querySelector('#engine').checkVisibility()"))
        self.expected = [problem for problem in page.problems if "404" in problem]


if __name__ == "__main__":
    serving.skip_without_program()
    browsing.skip_without_browser()
    unittest.main()
