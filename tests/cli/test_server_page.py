"""nlm-server's page in a browser: chats with a model, and with a scripted server; what is kept."""
import json
import tempfile
import threading
import unittest
from pathlib import Path

import browsing
import serving
from page_case import ANSWER, IDLE, OnPage
from scripted_server import Fails, Says, Stream, chunk, ending
from serving import Server


class WithModel(OnPage):
    def chat(self, **options):
        page = self.open(self.server.url, **options)
        page.click("#open-parameters")
        self.set("p-temperature", "0")
        self.set("p-max_tokens", "24")
        return page

    def test_answer_is_the_models_and_is_kept(self):
        page = self.chat()
        page.click("#question")
        page.write("Once upon")
        page.press("Enter", shift=True)
        page.write("a time")
        page.press("Enter")
        page.wait("document.querySelector('.turn.assistant .info')")
        body = {"messages": [{"role": "user", "content": "Once upon\na time"}], "temperature": 0, "max_tokens": 24}
        answer = self.server.post("/v1/chat/completions", body)
        text = answer["choices"][0]["message"]["content"]
        key = page.run("Object.keys(localStorage).find(key => key.startsWith('nlm.chat.'))")
        shown = json.loads(page.run(f"localStorage['{key}']"))["turns"][1]
        self.assertEqual(shown["content"], text)
        self.assertEqual(shown["info"]["tokens"], answer["usage"]["completion_tokens"])
        self.assertEqual(" ".join(page.text(ANSWER).split()), " ".join(text.split()))
        self.assertIn(f"{answer['usage']['completion_tokens']} tokens", page.text(".turn.assistant .info"))
        turns = page.texts(".turn > .text")
        self.assertEqual(turns[0], "Once upon\na time")
        page.reload()
        page.wait("document.querySelectorAll('.turn').length === 2")
        self.assertEqual(page.texts(".turn > .text"), turns)
        self.assertEqual(page.run("document.querySelector('#p-max_tokens').value"), "24")
        self.assertEqual(page.run("document.title"), "Once upon · nlm")

    def test_regenerate_and_edit_keep_what_was(self):
        page = self.chat()
        self.ask("Tom and Lily")
        first = page.text(ANSWER)
        self.set("p-temperature", "1.5")
        self.set("p-seed", "3")
        self.press_tool("again")
        page.wait(f"{IDLE} && document.querySelector('.turn.assistant .tools')?.innerText.includes('2/2')")
        self.assertNotEqual(page.text(ANSWER), first)
        self.press_tool("before")
        self.assertEqual(page.text(ANSWER), first)
        self.assertEqual(page.run("document.activeElement.dataset.does"), None)  # it is switched off at the first
        self.press_tool("edit", 0)
        self.assertEqual(page.run("document.activeElement.value"), "Tom and Lily")
        page.write(" and Max")
        page.press("Enter")
        page.wait(f"{IDLE} && document.querySelector('.turn.user .tools')?.innerText.includes('2/2')")
        self.assertEqual(page.text(".turn.user > .text"), "Tom and Lily and Max")
        self.press_tool("before", 0)
        self.assertEqual(page.texts(".turn > .text"), ["Tom and Lily", first])
        page.press("ArrowUp")
        page.click("#question")
        page.press("ArrowUp")
        self.assertEqual(page.run("document.activeElement.value"), "Tom and Lily")
        page.press("Escape")
        self.assertEqual(page.texts(".turn > .text"), ["Tom and Lily", first])

    def test_engine_is_shown(self):
        page = self.chat()
        self.ask("Once")
        page.click("#open-engine")
        page.wait("document.querySelector('#figures').innerText.includes('Tokens written')")
        figures = dict(zip(page.texts("#figures dt"), page.texts("#figures dd")))
        written = int(figures["Tokens written"].replace("\u202f", ""))
        self.assertEqual(written, int(self.server.metric("nlm_generated_tokens_total")))
        self.assertEqual(figures["Running"], "0 of 4")
        self.assertEqual(page.count("#slots .slot"), 4)
        facts = dict(zip(page.texts("#facts dt"), page.texts("#facts dd")))
        props = self.server.get("/props")
        self.assertEqual((facts["Model"], facts["Backend"]), (props["model"], props["backend"]))

    def test_server_gone_and_back(self):
        with Server("--set", "sampler.temperature=0", "--set", "server.max_tokens=8") as server:
            page = self.open(server.url)
            self.ask("One")
        self.ask("Two")
        self.assertIn("does not answer", page.text("#notice"))
        self.assertIn("not reachable", page.text("#model"))
        kept = page.texts(".turn.user > .text")
        with Server("--port", server.port, "--set", "sampler.temperature=0", "--set", "server.max_tokens=8"):
            page.wait("document.querySelector('#notice').innerText.includes('answers again')")
            page.click("#notice button")
            page.wait(f"{IDLE} && document.querySelectorAll('.turn .info')[1]?.innerText.includes('tokens')")
            self.assertEqual(page.text("#notice"), "")
            self.assertEqual(page.texts(".turn.user > .text"), kept)
            self.assertNotIn("not reachable", page.text("#model"))
        self.expected = [problem for problem in page.problems if "ERR_" in problem]

    def test_key_is_asked_for(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "keys"
            path.write_text("right-key\n")
            with Server("--api-key-file", path, "--set", "server.max_tokens=8") as server:
                page = self.open(server.url)
                page.wait("document.querySelector('#key').open")
                page.write("wrong")
                page.press("Enter")
                page.wait("document.querySelector('#key-why').textContent.includes('does not know')")
                self.set("key-text", "right-key")
                page.press("Enter")
                model = server.get("/props", Authorization="Bearer right-key")["model"]
                page.wait(f"document.querySelector('#model').textContent === '{model}'")
                self.ask("Once")
                self.assertIn("tokens", page.text(".turn .info"))
                self.assertNotIn("right-key", page.run("JSON.stringify(localStorage)"))
                page.reload()
                page.wait("document.querySelector('#model').textContent.length > 10")
                self.assertFalse(page.run("document.querySelector('#key').open"))
        self.expected = [problem for problem in page.problems if "401" in problem]


class Talking(OnPage):
    def test_request_has_what_is_set(self):
        page, server = self.scripted(Says("Yes."), Says("Again."))
        page.press("p", alt=True)
        for name, value in (("system", "Be brief."), ("p-temperature", "0.5"), ("p-top_p", "0.9"), ("p-top_k", "40"),
                            ("p-min_p", "0.1"), ("p-max_tokens", "7"), ("p-seed", "11"), ("p-repeat_penalty", "1.1"),
                            ("p-frequency_penalty", "-0.5"), ("p-presence_penalty", "1"), ("p-stop", "END\n\\n\\n")):
            self.set(name, value)
        self.assertEqual(page.run("document.querySelector('#p-min_p').placeholder"), "0.05")
        self.ask("Hi")
        self.assertEqual(server.bodies[0], {
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "model": "scripted", "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "max_tokens": 7,
            "seed": 11, "repeat_penalty": 1.1, "frequency_penalty": -0.5, "presence_penalty": 1,
            "stop": ["END", "\n\n"], "stream": True,
            "stream_options": {"include_usage": True}})
        page.click("#reset-parameters")
        self.set("p-top_p", "3")  # is not kept: the field says so
        self.assertEqual(page.run("document.querySelector('#p-top_p').ariaInvalid"), "true")
        self.ask("More")
        self.assertEqual(server.bodies[1], {
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
                         {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "More"}],
            "model": "scripted", "stream": True, "stream_options": {"include_usage": True}})

    def test_stop_and_continue(self):
        hold = threading.Event()
        first = Stream(chunk("One, two"), hold, ending())
        second = Stream(chunk("One"), hold, ending())
        page, server = self.scripted(first, Says(", three."), second)
        self.ask("Count", wait=False)
        page.wait(f"document.querySelector('{ANSWER}').innerText === 'One, two'")
        page.press("Escape")
        page.wait(IDLE)
        self.assertTrue(first.gone.wait(30))
        self.assertIn("stopped", page.text(".turn .info"))
        self.assertEqual(page.text("#status"), "Stopped.")
        self.press_tool("more")
        page.wait(f"{IDLE} && document.querySelector('{ANSWER}').innerText === 'One, two, three.'")
        self.assertEqual(server.bodies[1]["messages"][-1], {"role": "assistant", "content": "One, two"})
        self.assertIs(server.bodies[1]["continue_final_message"], True)
        self.ask("Again", wait=False)
        page.wait("document.querySelector('.streaming')?.innerText.includes('One')")
        page.click("#send")
        page.wait(IDLE)
        self.assertTrue(second.gone.wait(30))
        self.assertEqual(page.run("document.activeElement.id"), "question")

    def test_two_conversations_at_once(self):
        hold = threading.Event()
        page, _ = self.scripted(Stream(chunk("slow"), hold, chunk(" done"), ending()), Says("quick"))
        self.ask("first", wait=False)
        page.wait("document.querySelector('.streaming')?.innerText.includes('slow')")
        page.press("n", alt=True)
        self.ask("second")
        self.assertEqual(page.texts(".turn > .text"), ["second", "quick"])
        self.assertEqual(page.count("#chat-list .runs"), 1)
        hold.set()
        page.wait("document.querySelectorAll('#chat-list .runs').length === 0")
        self.assertEqual(page.texts(".turn > .text"), ["second", "quick"])
        page.click("#chat-list li:not(.here) .pick")
        self.assertEqual(page.texts(".turn > .text"), ["first", "slow done"])

    def test_errors_are_sentences_with_a_way_on(self):
        full = "the prompt has 5000 tokens, which does not fit the context of 4096"
        page, server = self.scripted(
            Fails(429, "the queue is full"), Says("now"), Fails(400, full), Says("x"), Fails(400, "'top_p' is 3"),
            Stream(chunk("half"), b'event: error\ndata: {"error": {"message": "the device is lost"}}\n\n'),
            Stream(chunk(" and"),), Says(" whole"))
        self.ask("a")
        self.assertEqual(page.text("#notice p"), "The server is busy: the queue is full.")
        page.click("#notice button")
        page.wait(f"{IDLE} && document.querySelector('{ANSWER}').innerText === 'now'")
        self.ask("b")
        self.assertIn("5000 tokens", page.text("#notice p"))
        self.assertIn("begin another conversation", page.text("#notice p"))
        page.click("#notice button")
        self.assertEqual(page.count(".turn"), 0)
        self.ask("c")
        self.ask("d")
        self.assertEqual(page.text("#notice p"), "The server refused: 'top_p' is 3.")
        page.click("#notice button")
        page.wait("document.querySelector('#notice p')?.innerText.includes('device is lost')")
        self.assertEqual(page.text(ANSWER), "half")
        page.click("#notice button")  # goes on, and is cut off
        page.wait("document.querySelector('#notice p')?.innerText.includes('connection broke')")
        self.assertEqual(page.text(ANSWER), "half and")
        page.click("#notice button")
        page.wait(f"document.querySelector('{ANSWER}').innerText === 'half and whole'")
        self.assertEqual(server.bodies[-1]["messages"][-1], {"role": "assistant", "content": "half and"})
        self.expected = [problem for problem in page.problems if "status of 4" in problem]


STORED = ("JSON.stringify(Object.entries(localStorage).filter(([key]) => key.startsWith('nlm.chat.'))"
          ".map(([, chat]) => JSON.parse(chat))"
          ".map(({title, turns}) => [title, turns.map(turn => turn.content)]).sort())")


class Keeping(OnPage):
    def stored(self):
        return json.loads(self.page.run(STORED))

    def upload(self, *paths):
        node = self.page.call("Runtime.evaluate", expression="document.querySelector('#import-file')")["result"]
        self.page.call("DOM.setFileInputFiles", files=[str(path) for path in paths], objectId=node["objectId"])

    def test_conversations_are_named_deleted_and_brought_back(self):
        page, _ = self.scripted(Says("1"), Says("2"))
        self.ask("first\nof all")
        page.press("n", alt=True)
        self.ask("second")
        self.assertEqual(page.texts("#chat-list .pick"), ["second", "first"])
        page.click("#chat-list li:nth-child(2) .icon")
        page.write("Renamed <b>")
        page.press("Enter")
        self.assertEqual(page.texts("#chat-list .pick"), ["second", "Renamed <b>"])
        page.click("#chat-list .here .icon:last-child")
        self.assertEqual((page.text("#title"), page.texts(".turn > .text")), ("Renamed <b>", ["first\nof all", "1"]))
        self.assertEqual(self.stored(), [["Renamed <b>", ["first\nof all", "1"]]])
        page.click("#notice button")
        self.assertEqual(page.texts(".turn > .text"), ["second", "2"])
        self.assertEqual(len(self.stored()), 2)
        page.reload()
        page.wait("document.querySelectorAll('.turn').length === 2")
        self.assertEqual(page.text("#title"), "second")

    def test_export_and_import_give_the_same(self):
        with tempfile.TemporaryDirectory() as folder:
            page, server = self.scripted(Says("one"), Says("uno"), Says("two"), downloads=folder)
            self.ask("a")
            self.press_tool("again")
            page.wait(f"{IDLE} && document.querySelector('{ANSWER}').innerText === 'uno'")
            page.press("n", alt=True)
            self.ask("b")
            before = self.stored()
            self.assertEqual(before, [["a", ["a", "one", "uno"]], ["b", ["b", "two"]]])
            page.click("#export-all")
            path = Path(folder) / "conversations.json"
            while not path.exists():
                self.browser.receive(0.02)
            other = self.open(server.url)
            self.upload(path)
            other.wait("document.querySelector('#notice').innerText.includes('2 conversations')")
            self.assertEqual(self.stored(), before)
            other.click("#chat-list li:not(.here) .pick")
            self.assertIn("2/2", other.text(".turn.assistant .tools"))

            request = Path(folder) / "request.json"
            request.write_text(json.dumps({"messages": [{"role": "system", "content": "Brief."},
                                                        {"role": "user", "content": "q"},
                                                        {"role": "assistant", "content": "a"}]}))
            self.upload(request)
            other.wait("document.querySelector('#title').innerText === 'q'")
            self.assertEqual(other.run("document.querySelector('#system').value"), "Brief.")
            for text in ("no json", "[]", "{}", '{"conversations": []}',
                         '{"turns": [{"role": "user", "content": 1}]}',
                         '{"turns": [{"parent": 0, "role": "user", "content": ""}]}',
                         '{"messages": [{"role": "x", "content": ""}]}',
                         '{"turns": [null]}', '{"conversations": 5}', "null"):
                request.write_text(text)
                other.run("document.querySelector('#notice').replaceChildren()")
                self.upload(request)
                other.wait("document.querySelector('#notice').innerText.includes('holds no conversations')")
            self.assertEqual(len(self.stored()), 3)

    def test_two_windows_share_what_is_kept(self):
        page, server = self.scripted(Says("one"))
        target = self.browser.call("Target.createTarget", {"url": server.url, "browserContextId": page.context})
        self.ask("from here")
        session = self.browser.call("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
        shown = ""
        while "from here" not in (shown or ""):
            shown = self.browser.call("Runtime.evaluate", {
                "expression": "document.querySelector('#chat-list')?.innerText", "returnByValue": True},
                session["sessionId"])["result"].get("value")


if __name__ == "__main__":
    serving.skip_without_program()
    browsing.skip_without_browser()
    unittest.main()
