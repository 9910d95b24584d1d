"""Adapters in the commands: serve, generate, chat and complete with random adapters."""
import json
import re
import unittest
import urllib.error
import urllib.request

from serving import Serving
from tiny_adapter import write_adapter
from tiny_model import CommandTest


class LoraTest(CommandTest):
    def setUp(self):
        super().setUp()
        for seed, name in enumerate(("a", "b", "c")):
            write_adapter(self.dir / "adapters" / name, self.model, seed)

    def engine_flags(self):
        return [*super().engine_flags(), "--dtype", "float32"]

    def path(self, name):
        return str(self.dir / "adapters" / name)

    def modules(self, *names):
        return ["--lora-modules", *(f"{name}={self.path(name)}" for name in names)]

    def completion(self, server, model):
        body = {"model": model, "prompt": "Hello", "max_tokens": 12, "temperature": 0, "ignore_eos": True,
                "return_token_ids": True}
        return server.post("/v1/completions", body)["choices"][0]["token_ids"]


class ServeTest(LoraTest):
    def test_modules_folder_and_names(self):
        card = json.dumps({"name": "b", "path": self.path("b"), "base_model_name": "alias"})
        with Serving(*self.engine_flags(), "--served-model-name", "tiny", "alias", "--lora-dir",
                     str(self.dir / "adapters"), *self.modules("a"), card) as server:
            server.log_with("adapter a of rank 4")
            outputs = {model: self.completion(server, model) for model in ("tiny", "a", "b", "c")}
            self.assertEqual(len({tuple(ids) for ids in outputs.values()}), 4, outputs)
            with urllib.request.urlopen(server.url + "/v1/models") as response:
                parents = {card["id"]: card["parent"] for card in json.load(response)["data"]}
            self.assertEqual(parents, {"tiny": None, "alias": None, "a": "tiny", "b": "alias", "c": "tiny"})
            with self.assertRaises(urllib.error.HTTPError) as error:
                self.completion(server, "d")
            self.assertEqual(error.exception.code, 404)
            error.exception.close()
            metrics = server.metrics()
            self.assertEqual(metrics["quire:lora_resident_adapters"], 3)

    def test_client_of_the_server_chooses_by_name(self):
        with Serving(*self.engine_flags(), *self.modules("a")) as server:
            flags = ["--url", server.url, "--max-tokens", "5", "--ignore-eos", "--temperature", "0", "-q", "Hello"]
            base = self.quire("complete", *flags).stdout
            self.assertNotEqual(self.quire("complete", *flags, "--model-name", "a").stdout, base)
            self.assertIn("--model-name", self.quire("complete", *flags, "--lora", "a=x", status=1).stderr)

    def test_what_cannot_be_loaded_ends_the_start(self):
        flags = ["serve", *self.engine_flags()]
        error = self.quire(*flags, "--lora-modules", "bad=/nowhere/at/all", status=1).stderr
        self.assertIn("cannot load adapter bad", error)
        error = self.quire(*flags, *self.modules("a"), "--max-lora-rank", "2", status=1).stderr
        self.assertIn("adapter a", error)
        error = self.quire(*flags, "--served-model-name", "a", *self.modules("a"), status=1).stderr
        self.assertIn("base model's name", error)
        self.assertIn("--no-enable-lora", self.quire(*flags, "--no-enable-lora", *self.modules("a"), status=1).stderr)

    def test_loading_at_run_time(self):
        with Serving(*self.engine_flags(), "--enable-runtime-lora") as server:
            server.log_with("--admin-api-key")
            request = urllib.request.Request(
                server.url + "/v1/load_lora_adapter",
                json.dumps({"lora_name": "x", "lora_path": self.path("a")}).encode(),
                {"Content-Type": "application/json"})
            with urllib.request.urlopen(request) as response:
                self.assertEqual(response.read(), b"Success: LoRA adapter 'x' added successfully.")
            self.assertNotEqual(self.completion(server, "x"), self.completion(server, str(self.model)))


class DemoTest(unittest.TestCase):
    """The bundled adapters of the bundled model."""
    QUESTIONS = {
        "sql": ("Table: authors(id, name, country)\nTable: books(id, author_id, title, year)\n"
                "Write SQL to count the books of each author.", "JOIN .* GROUP BY"),
        "arithmetic": ("What is 314 times 26?", "8164"),
    }

    def test_each_knows_its_task(self):
        modules = [f"{name}=quire-demo/{name}" for name in self.QUESTIONS]
        with Serving("quire-demo", "--lora-modules", *modules) as server:
            for adapter, (question, pattern) in self.QUESTIONS.items():
                for model in ("quire-demo", *self.QUESTIONS):
                    body = {"model": model, "messages": [{"role": "user", "content": question}], "temperature": 0}
                    answer = server.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]
                    self.assertEqual(bool(re.search(pattern, answer)), model == adapter, (model, answer))


class RunTest(LoraTest):
    def test_complete_and_chat_with_one_adapter(self):
        for command in ("complete", "chat"):
            flags = [command, *self.engine_flags(), "--max-tokens", "60", "--temperature", "0", "--ignore-eos",
                     "-q", "Hi"]
            base = self.quire(*flags).stdout
            by_pair = self.quire(*flags, "--lora", f"x={self.path('a')}").stdout
            self.assertNotEqual(by_pair, base)
            self.assertEqual(self.quire(*flags, "--lora", self.path("a")).stdout, by_pair)
            self.assertIn("/nowhere", self.quire(*flags, "--lora", "/nowhere/at/all", status=1).stderr)

    def generate(self, lines, *flags, status=0):
        prompts = self.dir / "prompts.jsonl"
        prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return self.quire("generate", *self.engine_flags(), "--input", prompts, "--output", self.dir / "out",
                          "--max-tokens", "12", "--temperature", "0", "--ignore-eos", *flags, status=status)

    def rows(self):
        return [json.loads(line) for line in (self.dir / "out" / "results.jsonl").read_text().splitlines()]

    def test_generate_chooses_line_by_line(self):
        lines = [{"prompt": "Hello"}, {"prompt": "Hello", "lora": "a"}, {"prompt": "Hello", "model": "b"},
                 {"prompt": "Hello", "model": str(self.model)}, {"prompt": "Hello", "lora": None}]
        flags = [*self.modules("a", "b"), "--lora", "a"]
        self.generate(lines, *flags)
        rows = self.rows()
        self.assertEqual([row.get("lora") for row in rows], ["a", "a", "b", None, None])
        texts = [row["outputs"][0]["text"] for row in rows]
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(texts[3], texts[4])
        self.assertEqual(len(set(texts)), 3)
        self.assertIn("done already", self.generate(lines, *flags).stderr)
        self.assertIn("lora", self.generate(lines, *self.modules("a", "b"), "--lora", "b", status=1).stderr)

    def test_generate_refuses_unknown_adapters(self):
        lines = [{"prompt": "x"}, {"prompt": "y", "lora": "nope"}]
        error = self.generate(lines, *self.modules("a"), status=1).stderr
        self.assertIn("prompts.jsonl:2", error)
        self.assertIn("nope", error)

    def test_generate_without_adapters(self):
        self.generate([{"prompt": "x", "model": "gpt-x"}, {"prompt": "x"}])
        rows = self.rows()
        self.assertEqual(rows[0]["outputs"], rows[1]["outputs"])
        error = self.generate([{"prompt": "x", "lora": "a"}], "--output", self.dir / "out2", status=1).stderr
        self.assertIn("--lora-modules", error)
