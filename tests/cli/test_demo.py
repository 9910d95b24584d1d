"""The bundled model behind quire serve: what it answers, and what the engine does meanwhile."""
import concurrent.futures
import json
import random
import re
import signal
import socket
import struct
import time
import unittest

from serving import Serving

MODEL = "quire-demo"
WEATHER_TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the weather of a city", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


class DemoTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Serving(MODEL).__enter__()
        cls.addClassCleanup(cls.server.__exit__)

    def chat(self, content, **fields):
        body = {"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}
        return self.server.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]

    def complete(self, prompt, **fields):
        return self.server.post("/v1/completions", {"model": MODEL, "prompt": prompt, **fields})

    def test_the_examples_are_answered_sensibly(self):
        for seed in range(3):
            self.assertRegex(self.chat("What is quire?", max_tokens=60, seed=seed), "engine|language model")
            self.assertIn("42", self.chat("What is 12 + 30?", seed=seed))
        query = self.chat("Write SQL to list all users older than 30.", temperature=0)
        self.assertRegex(query, r"SELECT .* FROM users WHERE age > 30")
        story = self.chat("Tell me a short story about a fox.", temperature=0)
        self.assertIn("fox", story)
        self.assertGreaterEqual(len(re.findall(r"[.!?]\W", story + " ")), 3, story)

    def test_a_tool_is_called_in_json(self):
        answer = self.chat("What is the weather in Paris?", tools=[WEATHER_TOOL], temperature=0)
        call = re.search(r"<tool_call>(.*)</tool_call>", answer, re.DOTALL)
        self.assertEqual(json.loads(call[1]), {"name": "get_weather", "arguments": {"city": "Paris"}})

    def test_a_shared_prompt_is_computed_once(self):
        shared = [random.Random(1).randrange(300, 6000) for _ in range(1000)]
        before = self.server.metrics()
        ask = lambda i: self.complete(shared + [400 + i] * 4, max_tokens=4)  # noqa: E731
        ask(0)
        with concurrent.futures.ThreadPoolExecutor(15) as pool:
            list(pool.map(ask, range(1, 16)))
        after = self.server.metrics()
        grown = {name: after[name] - before[name] for name in after}
        num_computed = grown["vllm:prompt_tokens_total"] - grown["vllm:prompt_tokens_cached_total"]
        self.assertEqual(grown["vllm:prompt_tokens_total"], 16 * 1004)
        # The whole prompt once; of the others what lies behind the last whole block of 16.
        self.assertLessEqual(num_computed, 1004 + 15 * (1004 - 1000 // 16 * 16))

    def test_kv_cache_waste_is_small_under_a_mixed_load(self):
        rng = random.Random(2)
        length = lambda mean: max(16, min(1000, int(rng.lognormvariate(0, 0.8) * mean * 0.73)))  # noqa: E731
        requests = [([rng.randrange(300, 6000) for _ in range(length(300))], length(150)) for _ in range(96)]
        samples = []
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            answers = [pool.submit(self.complete, prompt, max_tokens=num, ignore_eos=True)
                       for prompt, num in requests]
            while not all(answer.done() for answer in answers):
                metrics = self.server.metrics()
                if metrics["vllm:num_requests_running"] > 8:
                    samples.append(metrics["quire:kv_cache_waste_perc"])
                time.sleep(0.01)
            for answer in answers:
                answer.result()
        waste = sum(samples) / len(samples)
        print(f"KV cache waste {100 * waste:.2f} % over {len(samples)} samples")
        self.assertGreater(len(samples), 10)
        self.assertGreater(waste, 0)
        self.assertLess(waste, 0.04)

    def test_vanished_clients_leave_nothing_behind(self):
        rng = random.Random(3)
        gauges = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
                  "quire:num_requests_in_flight", "quire:http_requests_in_flight", "quire:http_connections")
        # An answer may be out before the gauges that count its request as ended.
        before = self.metrics_when(lambda now: now["vllm:num_requests_running"] == now["quire:num_requests_in_flight"] == 0)
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            list(pool.map(self.vanish, [rng.random() for _ in range(100)]))
        now = self.metrics_when(lambda now: all(now[name] <= before[name] for name in gauges))
        self.assertGreater(now["quire:client_disconnects_total"], before["quire:client_disconnects_total"] + 50)
        self.assertIn("42", self.chat("What is 12 + 30?", temperature=0))

    def metrics_when(self, condition):
        deadline = time.monotonic() + 20
        while not condition(metrics := self.server.metrics()):
            self.assertLess(time.monotonic(), deadline, metrics)
            time.sleep(0.05)
        return metrics

    def vanish(self, fraction):
        """Asks for a long answer and leaves at a random moment, half the time with a reset."""
        body = json.dumps({"model": MODEL, "prompt": "Once", "max_tokens": 1500, "ignore_eos": True,
                           "stream": fraction < 0.7, "n": 1 + int(3 * fraction)}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" \
               f"Content-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.server.port)) as connection:
            connection.sendall(head.encode() + body)
            time.sleep(0.1 * fraction)
            if int(1000 * fraction) % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class ShutdownTest(unittest.TestCase):
    def test_terminate_drains_a_stream(self):
        with Serving(MODEL) as server:
            chunks = server.post("/v1/completions", {"model": MODEL, "prompt": "Once", "max_tokens": 300,
                                                     "ignore_eos": True, "stream": True,
                                                     "stream_options": {"include_usage": True}})
            next(chunks)
            server.process.send_signal(signal.SIGTERM)
            rest = list(chunks)
            self.assertEqual(rest[-1]["usage"]["completion_tokens"], 300)
            self.assertEqual(server.wait(), 0, server.log)
            self.assertIn("stopped", server.log)


if __name__ == "__main__":
    unittest.main()
