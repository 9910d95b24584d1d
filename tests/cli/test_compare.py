"""quire compare-adapters: columns, numbers, files and exit statuses."""
import json
import pathlib
import unicodedata

from tiny_adapter import write_adapter
from tiny_model import CommandTest

BUNDLED = ["sql", "arithmetic", "function-calls"]
# Each line is the task of one bundled adapter.
QUESTIONS = ["--input", str(pathlib.Path(__file__).parents[2] / "examples/adapters.jsonl")]


def cells(line):
    """The terminal cells that a line takes."""
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
               for char in line)


class DemoTest(CommandTest):
    """The bundled model and its adapters, without any flag about either."""

    def test_columns_of_all_bundled_adapters(self):
        text = self.quire("compare-adapters", *QUESTIONS).stdout
        self.assertLessEqual(max(map(cells, text.splitlines())), 100)
        lines = text[text.index("Prompt 1 of 3"):text.index("Prompt 2 of 3")].splitlines()
        title = next(line for line in lines if line.split() == ["base", *BUNDLED])
        begins = [title.index(name) for name in ("base", *BUNDLED)]
        first = lines.index(title) + 2
        answers = lines[first:lines.index("", first)]
        columns = [" ".join(line[begin:end].strip() for line in answers)
                   for begin, end in zip(begins, [*begins[1:], None])]
        self.assertEqual(["8164" in column for column in columns], [False, False, True, False], columns)
        self.assertIn("GROUP BY", text)
        self.assertIn("<functioncall>", text)
        for label in ("tokens ", "TTFT, ms", "tokens/s", "mean logprob", "diverges at", "KL to base"):
            self.assertTrue(any(line.startswith(label) for line in lines), label)
        for part in ("sql: rank 8", "arithmetic: rank 12", "read in", "over all 6144 tokens",
                     "the same tokens in all 12 requests", "Every adapter changes", "4 separate models"):
            self.assertIn(part, " ".join(text.split()))

    def test_numbers(self):
        result = json.loads(self.quire("compare-adapters", "--json", *QUESTIONS).stdout)
        self.assertEqual([adapter["name"] for adapter in result["adapters"]], BUNDLED)
        self.assertTrue(result["chat_template"])
        for prompt in result["prompts"]:
            base, *others = prompt["outputs"]
            self.assertIsNone(base["adapter"])
            self.assertIsNone(base["first_divergence"])
            self.assertEqual(base["kl_to_base"], 0)
            for output in (base, *others):
                self.assertEqual(len(output["token_ids"]), output["num_tokens"])
                self.assertLessEqual(output["num_tokens"], 64)
                self.assertLess(output["mean_logprob"], 0)
                self.assertGreater(output["ttft_ms"], 0)
                self.assertTrue(output["same_alone"])
            for output in others:
                self.check_divergence(output, base)
                self.assertGreater(output["kl_to_base"], 0)
        self.assertTrue(all(row["num_same_as_base"] < 3 for row in result["columns"][1:]))
        memory = result["memory"]
        self.assertEqual(memory["adapter_bytes"], sum(adapter["resident_bytes"] for adapter in result["adapters"]))
        for adapter in result["adapters"]:
            self.assertGreaterEqual(adapter["resident_bytes"], adapter["weight_bytes"])
            self.assertGreater(adapter["load_ms"], 0)
        self.assertEqual(memory["separate_bytes"], 4 * memory["weight_bytes"])
        self.assertEqual(result["checks"], {"batch_independent": True, "differences": [], "equal_to_base": []})

    def check_divergence(self, output, base):
        at, ids = output["first_divergence"], output["token_ids"]
        if at is None:
            self.assertEqual(ids, base["token_ids"])
            return
        self.assertEqual(ids[:at], base["token_ids"][:at])
        self.assertNotEqual(ids[at:at + 1], base["token_ids"][at:at + 1])

    def test_one_prompt_is_cached_for_each_column_by_itself(self):
        flags = ["--json", "--allow-equal", "--prompt", "What is 314 times 26?"]
        cache = json.loads(self.quire("compare-adapters", *flags).stdout)["prefix_cache"]
        self.assertEqual(cache["num_found"], 0)
        self.assertGreater(cache["num_in_whole_blocks"], 0)
        self.assertEqual(cache["num_found_again"], cache["num_in_whole_blocks"])
        cache = json.loads(self.quire("compare-adapters", *flags, "--no-enable-prefix-caching").stdout)["prefix_cache"]
        self.assertEqual(cache["num_found_again"], 0)
        self.assertFalse(cache["enabled"])

    def test_answers_are_those_of_chat(self):
        question = "How many days are in a week?"
        result = json.loads(self.quire("compare-adapters", "--json", "--allow-equal", "--prompt", question).stdout)
        outputs = {output["adapter"]: output["text"] for output in result["prompts"][0]["outputs"]}
        chat = ["chat", "--temperature", "0", "--max-tokens", "64", "-q", question]
        self.assertEqual(self.quire(*chat).stdout.strip(), outputs[None].strip())
        self.assertEqual(self.quire(*chat, "--lora", "quire-demo/sql").stdout.strip(), outputs["sql"].strip())


class TinyTest(CommandTest):
    """A tiny model with adapters of random numbers; "same" is one of zeros."""

    def setUp(self):
        super().setUp()
        for seed, name in enumerate(("a", "b")):
            write_adapter(self.dir / "adapters" / name, self.model, seed)
        write_adapter(self.dir / "same", self.model, 0, deviation=0.0)

    def adapters(self, *names):
        return [word for name in names for word in ("--adapter", f"{name}={self.dir / 'adapters' / name}")]

    def compare(self, *flags, status=0, adapters=("a", "b")):
        return self.quire("compare-adapters", *self.engine_flags(), "--dtype", "float32", *self.adapters(*adapters),
                          *flags, status=status)

    def compare_json(self, *flags, **options):
        return json.loads(self.compare("--json", "--max-tokens", "8", *flags, **options).stdout)

    def prompt_file(self, name, lines):
        path = self.dir / name
        path.write_text("".join(line + "\n" for line in lines))
        return path

    def test_a_file_of_prompts(self):
        path = self.prompt_file("prompts.jsonl", [
            json.dumps({"prompt": "Hello there", "id": "first", "lora": "b"}), '"Hi"',
            json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, "ignore_eos": True}),
            json.dumps({"prompt_token_ids": [1, 2, 3]})])
        result = self.compare_json("--input", path)
        prompts = result["prompts"]
        self.assertEqual([prompt["id"] for prompt in prompts], ["first", None, None, None])
        self.assertEqual([output["num_tokens"] for output in prompts[2]["outputs"]], [3, 3, 3])
        self.assertEqual(prompts[1]["num_prompt_tokens"], prompts[2]["num_prompt_tokens"])
        self.assertEqual(prompts[3]["num_prompt_tokens"], 3)
        for column, row in enumerate(result["columns"]):
            self.assertEqual(row["num_tokens"], sum(prompt["outputs"][column]["num_tokens"] for prompt in prompts))
        self.assertEqual([row["adapter"] for row in result["columns"]], [None, "a", "b"])
        self.assertIn("All 4 prompts", self.compare("--input", path).stdout)

    def test_a_text_file_and_a_prompt_flag(self):
        path = self.prompt_file("prompts.txt", ["What {is} this?", "", "and that"])
        result = self.compare_json("--prompt", "one", "--prompt", "two", "--input", path)
        self.assertEqual([prompt["prompt"] for prompt in result["prompts"]],
                         ["one", "two", "What {is} this?", "and that"])

    def test_templates(self):
        count = lambda *flags: self.compare_json("--prompt", "Hi", *flags)["prompts"][0]["num_prompt_tokens"]  # noqa
        self.assertEqual(count("--raw"), 2)
        self.assertGreater(count(), 2)
        # A token is a byte; <|im_start|> and <|im_end|> are one each.
        self.assertEqual(count("--system", "Be kind.") - count(), len(".system\nBe kind..\n"))
        error = self.compare("--prompt", "Hi", "--raw", "--system", "x", status=1).stderr
        self.assertIn("leave out --raw", error)

    def test_result_files(self):
        text = self.compare("--prompt", "Hi", "--width", "60", "--output", self.dir / "r.txt").stdout
        self.assertEqual((self.dir / "r.txt").read_text(), text)
        self.assertLessEqual(max(map(cells, text.splitlines())), 60)
        self.compare("--prompt", "Hi", "--output", self.dir / "r.json")
        self.assertEqual(len(json.loads((self.dir / "r.json").read_text())["prompts"]), 1)
        error = self.compare("--prompt", "Hi", "--output", "/nowhere/r.json", status=1).stderr
        self.assertIn("--output", error)

    def test_an_adapter_without_effect_fails(self):
        same = ["--prompt", "Hi", "--lora-modules", f"same={self.dir / 'same'}"]
        failed = self.compare(*same, status=1)
        self.assertIn("adapter same answers as the base model does", failed.stderr)
        self.assertNotIn("adapter a ", failed.stderr)
        self.assertIn("nothing shows that it is applied", " ".join(failed.stdout.split()))
        self.assertEqual(self.compare(*same, "--allow-equal").stderr, "")
        result = self.compare_json(*same, "--allow-equal")
        self.assertEqual(result["checks"]["equal_to_base"], [{"adapter": "same", "is_applied": False}])
        output = result["prompts"][0]["outputs"][3]
        self.assertIsNone(output["first_divergence"])
        self.assertEqual(output["kl_to_base"], 0)

    def test_a_folder_of_adapters(self):
        result = self.compare_json("--prompt", "Hi", "--lora-dir", self.dir / "adapters", adapters=("b",))
        self.assertEqual([adapter["name"] for adapter in result["adapters"]], ["b", "a"])

    def test_sampling_is_reproducible(self):
        flags = ["--prompt", "Hi", "--temperature", "1", "--ignore-eos"]
        ids = lambda *more: [output["token_ids"]  # noqa: E731
                             for output in self.compare_json(*flags, *more)["prompts"][0]["outputs"]]
        self.assertEqual(ids(), ids("--seed", "0"))
        self.assertNotEqual(ids(), ids("--seed", "1"))

    def test_what_cannot_be_compared(self):
        def error(*flags, **options):
            return self.compare(*flags, status=1, **options).stderr
        (self.dir / "adapters" / "a" / "adapter_model.safetensors").write_bytes(b"broken")
        broken = error("--prompt", "x")
        self.assertIn("cannot load adapter a from", broken)
        self.assertIn("adapter_model.safetensors", broken)
        self.assertIn("--prompt TEXT", error())
        self.assertIn("--lora-modules", error("--prompt", "x", adapters=()))
        self.assertIn("rename one", error("--prompt", "x", adapters=("b", "b")))
        self.assertIn("--adapter: nonsense", error("--prompt", "x", "--adapter", "nonsense"))
        path = self.prompt_file("bad.jsonl", ['"good"', "not JSON"])
        self.assertIn("bad.jsonl:2: is not JSON", error("--input", path, adapters=("b",)))
        path = self.prompt_file("long.jsonl", ['"good"', json.dumps("x" * 600)])
        long = error("--input", path, adapters=("b",))
        self.assertIn("long.jsonl:2, base model", long)
        self.assertIn("maximum context length", long)
        path = self.prompt_file("many.jsonl", ['{"prompt": "x", "n": 2}'])
        self.assertIn("many.jsonl:1: asks for 2 completions", error("--input", path, adapters=("b",)))
        self.assertIn("/nowhere/f", error("--input", "/nowhere/f", adapters=("b",)))
