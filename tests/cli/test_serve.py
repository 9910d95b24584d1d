"""quire serve as a process: its log, its signals, and quire's own clients against it."""
import json
import signal
import subprocess
import time
import urllib.request

from serving import Serving
from tiny_model import BINARY, CommandTest


class ServeTest(CommandTest):
    def test_log_says_what_is_served_and_how_to_ask(self):
        with Serving(*self.engine_flags(), "--served-model-name", "tiny", "alias") as server:
            log = server.log_with("LlamaForCausalLM", "float32", "1 threads", "KV cache", "max concurrency",
                                  f":{server.port}", "curl ")
            curl = next(line for line in log.splitlines() if "curl " in line)
            command = curl[curl.index("curl "):]
            answer = subprocess.run(["bash", "-c", command + " -s"], capture_output=True, text=True, check=True)
            self.assertEqual(json.loads(answer.stdout)["model"], "tiny")
            with urllib.request.urlopen(server.url + "/v1/models") as response:
                self.assertEqual([model["id"] for model in json.load(response)["data"]], ["tiny", "alias"])

    def test_idle_server_leaves_at_once_on_interrupt(self):
        with Serving(*self.engine_flags()) as server:
            start = time.monotonic()
            server.process.send_signal(signal.SIGINT)
            self.assertEqual(server.wait(), 0)
            self.assertLess(time.monotonic() - start, 5)

    def test_taken_port_is_one_clear_line_before_the_model_is_loaded(self):
        with Serving(*self.engine_flags()) as server:
            error = self.quire("serve", *self.engine_flags(), "--port", server.port, status=1).stderr
            self.assertIn(str(server.port), error.splitlines()[-1])
            self.assertNotIn("loaded", error)

    def test_defaults_from_the_command_line(self):
        with Serving(*self.engine_flags(), "--override-generation-config",
                     '{"temperature": 0, "max_new_tokens": 3}') as server:
            body = {"model": str(self.model), "messages": [{"role": "user", "content": "x"}], "ignore_eos": True}
            first = server.post("/v1/chat/completions", body)
            second = server.post("/v1/chat/completions", body)
            self.assertEqual(first["choices"][0]["message"], second["choices"][0]["message"])

    def test_chat_and_complete_over_http(self):
        with Serving(*self.engine_flags(), "--api-key", "k") as server:
            flags = ["--url", server.url, "--max-tokens", "5", "--ignore-eos", "--stats"]
            result = self.quire("chat", *flags, "--api-key", "k", "-q", "Hello")
            self.assertIn("5 output tokens", result.stderr)
            result = self.quire("complete", *flags, "--api-key", "k", stdin="one\ntwo\n")
            self.assertEqual(result.stderr.count("5 output tokens"), 2)
            self.assertIn("401", self.quire("chat", *flags, "-q", "Hello", status=1).stderr)

    def test_interrupt_stops_the_answer_not_the_program(self):
        with Serving("quire-demo") as server:  # takes seconds for as many tokens
            process = subprocess.Popen([BINARY, "complete", "--url", server.url, "--max-tokens", "1900", "--ignore-eos",
                                        "--stats"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            process.stdin.write(b"x\n")
            process.stdin.flush()
            process.stdout.read(1)  # the answer has begun
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(b"", timeout=60)
            self.assertIn(b"interrupted", err)
            self.assertEqual(process.returncode, 0, err)
