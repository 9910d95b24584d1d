"""Help, versions, and arguments that cannot be followed."""
from tiny_model import CommandTest


class ArgumentsTest(CommandTest):
    def test_help_lists_every_command(self):
        text = self.quire("--help").stdout
        for command in ("serve", "chat", "complete", "generate", "compare-adapters", "bench", "collect-env"):
            self.assertIn(command, text)
            self.assertIn("--help", self.quire(command, "--help").stdout)
        for benchmark in ("latency", "throughput", "serve", "startup"):
            self.assertIn("--output-json", self.quire("bench", benchmark, "--help").stdout)

    def test_serve_help_shows_groups_and_defaults(self):
        text = self.quire("serve", "--help").stdout
        self.assertIn("Usage: quire serve [MODEL] [FLAGS]\n", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 110)
        for part in ("KV cache:", "--[no-]enable-prefix-caching", "(default: on)", "--port", "(default: 8000)"):
            self.assertIn(part, text)

    def test_version_names_a_commit(self):
        self.assertRegex(self.quire("--version").stdout, r"^quire \d+\.\d+\.\d+ \(.+\)\n$")

    def assert_one_line_error(self, *words, parts):
        error = self.quire(*words, status=1).stderr
        self.assertEqual(error.count("\n"), 1, error)
        for part in parts:
            self.assertIn(part, error)

    def test_errors_are_one_line_with_a_remedy(self):
        self.assert_one_line_error("srve", parts=["did you mean serve?"])
        self.assert_one_line_error("bench", "speed", parts=["speed"])
        self.assert_one_line_error("serve", "--max-model-length", "4", parts=["--max-model-len?"])
        self.assert_one_line_error("serve", "m", "-tp", "2", parts=["-tp is not supported", "--num-threads"])
        self.assert_one_line_error("serve", "quire-demo", "--gpu-memory-utilization", "1.9",
                                   parts=["--gpu-memory-utilization", "at most 1"])
        self.assert_one_line_error("chat", *self.engine_flags(), "--chat-template", "/none", parts=["/none"])
        self.assert_one_line_error("chat", "m", "--url", "http://127.0.0.1:1", parts=["not both"])
        self.assert_one_line_error("chat", "--url", "http://127.0.0.1:1", parts=["127.0.0.1:1"])
        self.assert_one_line_error("generate", parts=["--input"])

    def test_missing_model_says_where_it_looked(self):
        error = self.quire("serve", "org/absent", env={"HF_HUB_CACHE": "/nonexistent"}, status=1).stderr
        self.assertIn("models--org--absent", error)
        self.assertIn("huggingface-cli download", error)

    def test_collect_env_tells_no_secrets(self):
        text = self.quire("collect-env", env={"HF_TOKEN": "hf_secret", "HOME": "/nonexistent"}).stdout
        self.assertNotIn("hf_secret", text)
        for part in ("CPU", "memory", "compiler", "libcurl", "model cache"):
            self.assertIn(part, text)
