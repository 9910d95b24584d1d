"""quire chat and quire complete, with a model in the process."""
from tiny_model import CommandTest


class TerminalTest(CommandTest):
    def test_quick_answers_are_reproducible(self):
        flags = [*self.engine_flags(), "--temperature", "0", "--max-tokens", "12", "--ignore-eos"]
        first = self.quire("complete", *flags, "--quick", "Once").stdout
        self.assertEqual(first, self.quire("complete", *flags, "-q", "Once").stdout)
        self.assertTrue(first.endswith("\n"))

    def test_piped_lines_are_answered_one_by_one(self):
        flags = [*self.engine_flags(), "--max-tokens", "4", "--ignore-eos", "--stats"]
        result = self.quire("chat", *flags, stdin="Hello\n\n/clear\nAgain\n/exit\nNever\n")
        self.assertEqual(result.stderr.count("4 output tokens"), 2, result.stderr)

    def test_slash_commands(self):
        result = self.quire("chat", *self.engine_flags(), stdin="/help\n/retry\n/unknown\n")
        self.assertIn("/clear", result.stderr)
        self.assertIn("Nothing to answer again", result.stderr)
        self.assertIn("no such command", result.stderr)

    def test_a_bad_parameter_is_told_and_fails(self):
        result = self.quire("complete", *self.engine_flags(), "--temperature", "9", "-q", "x", status=1)
        self.assertIn("temperature", result.stderr)
