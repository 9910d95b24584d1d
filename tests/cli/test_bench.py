"""quire bench, on sizes that say nothing but run at once."""
import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

from serving import Serving
from tiny_model import CommandTest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class ReportTest(CommandTest):
    def report(self, *words):
        path = self.dir / "report.json"
        self.quire("bench", *words, "--output-json", path)
        report = json.loads(path.read_text())
        for key in ("benchmark", "date", "command", "model", "hardware"):
            self.assertIn(key, report)
        self.assertIn("cpu", report["hardware"])
        self.assertIn("quire_commit", report["hardware"])
        return report


class BenchTest(ReportTest):
    def check_device(self, report, *kinds):
        self.assertIn("reads of", report["roofs"]["bytes_method"])
        self.assertIn("products", report["roofs"]["flops_method"])
        for kind in kinds:
            steps = report[f"{kind}_steps"]
            self.assertGreater(steps["num_steps"], 0)
            for key in ("mean_ms", "fraction_of_bandwidth", "fraction_of_flops"):
                self.assertGreater(steps[key], 0)
        self.assertGreater(report["device_memory_bytes"]["weights"], 0)
        self.assertGreater(report["kv_cache_blocks"]["peak_in_use"], 0)
        self.assertLessEqual(report["kv_cache_blocks"]["peak_in_use"], report["kv_cache_blocks"]["total"])

    def test_latency(self):
        report = self.report("latency", *self.engine_flags(), "--input-len", "8", "--output-len", "4",
                             "--batch-size", "2", "--num-iters", "3", "--num-iters-warmup", "1")
        self.assertEqual(len(report["latencies"]), 3)
        self.assertGreater(report["avg_latency"], 0)
        self.assertEqual(report["hardware"]["num_threads"], 1)
        self.check_device(report, "decode", "prefill")
        # Of the three batches that are measured; the second prompt comes with the first, or any time after it.
        self.assertIn(report["prefill_steps"]["num_steps"], range(3, 7))
        self.assertIn(report["decode_steps"]["num_steps"], range(6, 19))

    def test_throughput(self):
        report = self.report("throughput", *self.engine_flags(), "--input-len", "8", "--output-len", "4",
                             "--num-prompts", "10")
        self.assertEqual(report["num_requests"], 10)
        self.assertEqual(report["total_num_tokens"], 120)
        self.check_device(report, "decode", "prefill")
        lengths = self.dir / "lengths.tsv"
        lengths.write_text("prompt_tokens\toutput_tokens\n3\t2\n5\t4\n")
        report = self.report("throughput", *self.engine_flags(), "--dataset-name", "lengths",
                             "--dataset-path", lengths, "--num-prompts", "4")
        self.assertEqual(report["total_num_tokens"], 28)

    def test_serve_counts_and_hides_keys(self):
        with Serving(*self.engine_flags(), "--api-key", "secret") as server:
            for backend in ("openai", "openai-chat"):
                report = self.report("serve", "--base-url", server.url, "--backend", backend, "--api-key", "secret",
                                     "--num-prompts", "6", "--input-len", "10", "--output-len", "100",
                                     "--max-concurrency", "3", "--ignore-eos", "--request-rate", "200",
                                     "--tokenizer", self.model, "--percentile-metrics", "ttft,tpot,itl,e2el")
                self.assertEqual(report["completed"], 6)
                self.assertEqual(report["total_output_tokens"], 600)
                self.assertLessEqual(report["peak_concurrency"], 3)
                self.assertNotIn("secret", json.dumps(report))
                for metric in ("ttft", "tpot", "itl", "e2el"):
                    self.assertGreater(report[f"p99_{metric}_ms"], 0)

    def test_startup(self):
        report = self.report("startup", *self.engine_flags(), "--num-iters", "2")
        self.assertEqual(len(report["first_token_s"]), 2)
        self.assertGreater(report["median_first_token_s"], report["median_ready_s"])
        for resident in report["resident_host_bytes"]:
            self.assertTrue(1 << 20 < resident < 1 << 32, resident)


class LoraTest(ReportTest):
    LENGTHS = ["--random-input-len", "16", "--random-output-len", "4"]

    def lora(self, *words):
        return self.report("lora", *self.engine_flags(), "--ranks", "4", *self.LENGTHS, *words)["rows"]

    def test_steps_and_batches(self):
        rows = self.lora("--num-adapters", "1", "2", "--batch-size", "2", "--num-prompts", "4", "--num-iters", "2")
        self.assertEqual([row["num_adapters"] for row in rows if row["cell"] == "decode"], [0, 1, 2])
        self.assertEqual([row["num_adapters"] for row in rows if row["cell"] == "throughput"], [0, 1, 2])
        for row in rows:
            if row["cell"] == "decode":
                self.assertGreater(row["step_ms"], 0)
                self.assertAlmostEqual(row["over_base"], row["step_ms"] / rows[0]["step_ms"] - 1)
            if row["cell"] == "throughput":
                self.assertEqual(row["times"], 2)
                least, most = row["output_tokens_per_second_range"]
                self.assertTrue(0 < least <= row["output_tokens_per_second"] <= most, row)
        arena = next(row for row in rows if row["cell"] == "arena")
        self.assertEqual(arena["resident_adapters"], 2)
        self.assertGreaterEqual(arena["arena_bytes"], arena["weight_bytes"])
        self.assertGreater(next(row for row in rows if row["cell"] == "first token")["loaded_ms"], 0)
        self.assertIn("tape", self.quire("bench", "lora", *self.engine_flags(), "--cells", "tape", status=1).stderr)

    def test_memory_of_processes(self):
        tokens = 4096
        rows = self.lora("--cells", "memory", "--num-tenants", "2", "--tenant-kv-tokens", "0", str(tokens))
        self.assertEqual([row["kv_cache"] for row in rows], ["own", "own", "own", "own", "shared", "reserved", "reserved"])
        self.assertEqual([row["num_processes"] for row in rows], [2, 1, 2, 1, 1, 2, 1])
        several, one, shared = rows[2:5]
        token_bytes = 2 * 2 * 2 * 64 * 4  # K and V of two layers, two heads of 64 numbers
        for row, num_tokens in ((several, 2 * tokens), (one, 2 * tokens), (shared, tokens)):
            self.assertEqual(row["kv"], num_tokens * token_bytes)
            parts = sum(row[owner] for owner in ("weights", "adapters", "kv", "rest"))
            self.assertEqual(parts, row["used"])
            self.assertEqual(row["used"], row["host"]["proportional"])
            # The kernel has counted all that the engine says it holds, and not much more.
            self.assertIn(row["rest"] >> 20, range(1, 100 * row["num_processes"]))
        self.assertEqual(several["weights"], 2 * one["weights"])
        self.assertEqual(several["adapters"], one["adapters"])
        self.assertLess(one["used"], several["used"])
        self.assertLess(shared["used"], one["used"])
        self.assertAlmostEqual(one["reduction_of_used"], 1 - one["used"] / several["used"])
        # Of an arena that is almost empty, half is saved of what is reserved.
        self.assertGreater(rows[6]["empty_arena"], 7 << 20)
        self.assertLess(rows[6]["reserved"], rows[5]["reserved"])
        self.check_plot(rows)

    def check_plot(self, rows):
        plot = self.dir / "plot.svg"
        command = [sys.executable, ROOT / "bench" / "lora_memory.py", self.dir / "report.json", "--svg", plot]
        printed = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
        self.assertIn("**4,096 tokens of KV cache per adapter**", printed)
        self.assertIn("| 1,000 | 65,536 |", printed)
        bars = [element for element in xml.etree.ElementTree.parse(plot).iter() if element.tag.endswith("rect")]
        self.assertGreater(len(bars), 5 * len(rows))

    def test_many_adapters(self):
        rows = self.lora("--cells", "many", "--num-registered", "300", "--num-host", "100", "--num-requests", "60",
                         "--max-concurrency", "8")
        self.assertEqual([row["choice"] for row in rows], ["none", "base", "uniform", "zipf"])
        base, uniform, zipf = rows[1:]
        self.assertEqual(base["in_host_memory"], 100)
        self.assertEqual(base["num_distinct"], 0)
        self.assertEqual(base["loads"], 0)
        self.assertGreater(uniform["num_distinct"], zipf["num_distinct"])
        self.assertGreater(zipf["num_distinct"], 8)
        self.assertGreaterEqual(uniform["loads"], uniform["num_distinct"])
        self.assertGreater(uniform["in_host_memory"], 100)

    def test_storm_over_a_budget(self):
        rows = self.lora("--cells", "storm", "--num-active", "6", "--budget", "2", "--num-requests", "24",
                         "--request-rate", "200")
        self.assertEqual([row["budget"] for row in rows], ["none", "--max-loras", "arena"])
        none, _, arena = rows
        self.assertEqual(none["loads"], 0)
        self.assertGreater(arena["loads"], 6)
        for row in rows:
            self.assertEqual(row["times"], 3)
            self.assertGreater(row["median_ttft_ms"], 0)
            least, most = row["p99_ttft_ms_range"]
            self.assertTrue(least <= row["p99_ttft_ms"] <= most, row)

    def test_help_has_no_options_for_itself(self):
        text = self.quire("bench", "lora", "--help").stdout
        self.assertIn("--num-registered", text)
        self.assertNotIn("\n:", text)

    def test_cycles_leave_nothing(self):
        row = self.lora("--cells", "cycles", "--num-cycles", "1200", "--max-growth", "8M")[0]
        self.assertEqual(row["num_cycles"], 1200)
        self.assertEqual(row["early_cycles"], 1000)
        self.assertLess(row["end_bytes"] - row["start_bytes"], 8 << 20)
