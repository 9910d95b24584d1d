"""quire bench, on sizes that say nothing but run at once."""
import json

from serving import Serving
from tiny_model import CommandTest


class BenchTest(CommandTest):
    def report(self, *words):
        path = self.dir / "report.json"
        self.quire("bench", *words, "--output-json", path)
        report = json.loads(path.read_text())
        for key in ("benchmark", "date", "command", "model", "hardware"):
            self.assertIn(key, report)
        self.assertIn("cpu", report["hardware"])
        self.assertIn("quire_commit", report["hardware"])
        return report

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
                                     "--num-prompts", "6", "--input-len", "10", "--output-len", "5",
                                     "--max-concurrency", "3", "--ignore-eos", "--request-rate", "200",
                                     "--tokenizer", self.model, "--percentile-metrics", "ttft,tpot,itl,e2el")
                self.assertEqual(report["completed"], 6)
                self.assertEqual(report["total_output_tokens"], 30)
                self.assertLessEqual(report["peak_concurrency"], 3)
                self.assertNotIn("secret", json.dumps(report))
                for metric in ("ttft", "tpot", "itl", "e2el"):
                    self.assertGreater(report[f"p99_{metric}_ms"], 0)

    def test_startup(self):
        report = self.report("startup", *self.engine_flags(), "--num-iters", "2")
        self.assertEqual(len(report["first_token_s"]), 2)
        self.assertGreater(report["median_first_token_s"], report["median_ready_s"])
