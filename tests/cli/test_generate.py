"""quire generate: files in, files out, and crashes in between."""
import json
import random
import shutil
import signal
import subprocess
import time

from tiny_model import BINARY, CommandTest

NUM_PROMPTS = 120


class GenerateTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.input = self.dir / "prompts.jsonl"
        lines = [{"prompt": f"Tell me about {i}"} for i in range(NUM_PROMPTS)]
        lines[3] = {"messages": [{"role": "user", "content": "Hi"}], "id": "chat", "max_tokens": 5}
        lines[4] = {"prompt_token_ids": [1, 2, 3], "n": 2, "seed": 5}
        lines[5] = "a bare string"
        self.input.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def flags(self, output, *more):
        return ["generate", *self.engine_flags(), "--input", str(self.input), "--output", str(output),
                "--max-tokens", "40", "--ignore-eos", "--max-num-seqs", "8", *more]

    def rows(self, output):
        return [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]

    def test_results_and_summary(self):
        output = self.dir / "out"
        self.quire(*self.flags(output))
        rows = self.rows(output)
        self.assertEqual([row["index"] for row in rows], list(range(NUM_PROMPTS)))
        self.assertEqual(rows[3]["id"], "chat")
        self.assertEqual(rows[3]["outputs"][0]["num_tokens"], 5)
        self.assertEqual(len(rows[4]["outputs"]), 2)
        self.assertEqual(rows[0]["outputs"][0]["finish_reason"], "length")
        summary = json.loads((output / "inference_summary.json").read_text())
        self.assertEqual(summary["total_samples"], NUM_PROMPTS)
        self.assertGreater(summary["throughput_samples_per_sec"], 0)
        self.assertAlmostEqual(summary["throughput_samples_per_sec"] * summary["inference_time_seconds"],
                               NUM_PROMPTS, delta=0.01)
        self.assertEqual(summary["total_generated_tokens"], sum(row["num_generated_tokens"] for row in rows))
        self.assertEqual(summary["total_prompt_tokens"], sum(row["num_prompt_tokens"] for row in rows))

    def test_killed_runs_end_with_the_bytes_of_an_undisturbed_one(self):
        begin = time.monotonic()
        self.quire(*self.flags(self.dir / "whole"))
        duration = time.monotonic() - begin
        output = self.dir / "killed"
        rng = random.Random(1)
        num_killed = 0
        for _ in range(100):
            process = subprocess.Popen([BINARY, *self.flags(output)], stderr=subprocess.PIPE)
            deadline = time.monotonic() + rng.uniform(0.2, 0.8) * duration
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            stderr = process.communicate()[1]
            num_killed += process.returncode == -signal.SIGKILL
            if process.returncode == 0:
                if num_killed > 0:
                    break
                shutil.rmtree(output)  # faster than the first: another time
                continue
            self.assertEqual(process.returncode, -signal.SIGKILL, stderr)
        self.quire(*self.flags(output))
        self.assertGreater(num_killed, 0)
        self.assertEqual((output / "results.jsonl").read_bytes(),
                         (self.dir / "whole" / "results.jsonl").read_bytes())

    def test_another_run_is_refused(self):
        output = self.dir / "out"
        self.quire(*self.flags(output))
        self.assertIn("done already", self.quire(*self.flags(output)).stderr)
        error = self.quire(*self.flags(output, "--temperature", "0.5"), status=1).stderr
        self.assertIn("sampling", error)
        self.assertIn("choose another --output", error)
        self.input.write_text(self.input.read_text().replace("about 7", "about 8", 1))
        self.assertIn("input_fingerprint", self.quire(*self.flags(output), status=1).stderr)

    def test_bad_lines(self):
        self.input.write_text('"good"\n{"prompt": 3}\n' + json.dumps({"prompt": "x" * 2000}) + "\n")
        output = self.dir / "out"
        self.assertIn("prompts.jsonl:2:", self.quire(*self.flags(output), status=1).stderr)
        self.quire(*self.flags(output, "--skip-bad-lines"))
        self.assertEqual([row["index"] for row in self.rows(output)], [0])
        errors = [json.loads(line) for line in (output / "errors.jsonl").read_text().splitlines()]
        self.assertEqual([error["index"] for error in errors], [1, 2])
        self.assertIn("maximum context length", errors[1]["error"])

    def test_interrupt_keeps_what_is_done(self):
        output = self.dir / "out"
        flags = self.flags(output, "--max-num-seqs", "1", "--max-tokens", "400")
        process = subprocess.Popen([BINARY, *flags], stderr=subprocess.PIPE)
        results = output / "results.jsonl"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (results.exists() and results.stat().st_size):
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 130, stderr)
        self.assertIn(b"run the same command again", stderr)
