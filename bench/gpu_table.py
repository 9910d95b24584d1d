#!/usr/bin/env python3
"""Measures the cells that quire is compared in on one GPU, with dummy weights of Llama-3.1-8B's shape:

    bench/gpu_table.py --quire build/cuda/bin/quire --lengths LENGTHS.tsv --out bench/results/gpu.jsonl

Each cell is one `quire bench` command; a line of JSON with command, commit and hardware is appended per
cell.  The columns beside a result are vLLM 0.33's on an H200 and the figure that quire wants to reach.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile
import time

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "head_dim": 128, "vocab_size": 128256, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0, "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 128000,
    "eos_token_id": 128001,
    "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 8192, "rope_type": "llama3"},
}


def decode(batch, context, tokens=65, iterations=2):
    return ["latency", "--input-len", context, "--output-len", tokens, "--batch-size", batch,
            "--num-iters", iterations, "--num-iters-warmup", 1 if batch < 64 else 0, "--temperature", 1]


def prefill(tokens):
    return ["latency", "--input-len", tokens, "--output-len", 1, "--batch-size", 1, "--num-iters", 10,
            "--num-iters-warmup", 2]


def throughput(*dataset):
    return ["throughput", "--num-prompts", 1000, "--temperature", 1, "--ignore-eos", *dataset]


# Name: (arguments, key of the result, factor, unit, vLLM, wanted).
CELLS = {
    "decode 1 x 128": (decode(1, 128, 257), "median_itl_ms", 1, "ms", 4.91, 4.1),
    "decode 1 x 1k": (decode(1, 1024, 129), "median_itl_ms", 1, "ms", 4.95, 4.1),
    "decode 8 x 1k": (decode(8, 1024), "median_itl_ms", 1, "ms", 5.32, 4.5),
    "decode 32 x 1k": (decode(32, 1024), "median_itl_ms", 1, "ms", 6.51, 5.4),
    "decode 64 x 1k": (decode(64, 1024, 65, 1), "median_itl_ms", 1, "ms", 7.69, 6.6),
    "decode 256 x 1k": (decode(256, 1024, 65, 1), "median_itl_ms", 1, "ms", 18.3, 15.2),
    "prefill 8192": (prefill(8192), "median_ttft_s", 1e3, "ms", 212, 195),
    "first token of 1024": (prefill(1024), "median_ttft_s", 1e3, "ms", 30, 25),
    "throughput 230/239": (throughput("--dataset-name", "lengths", "--dataset-path", "LENGTHS"),
                           "output_tokens_per_second", 1, "tok/s", 12400, 14300),
    "throughput 1024/128": (throughput("--input-len", 1024, "--output-len", 128),
                            "output_tokens_per_second", 1, "tok/s", 3840, 4400),
    "throughput 512/512": (throughput("--input-len", 512, "--output-len", 512),
                           "output_tokens_per_second", 1, "tok/s", 12000, 14000),
    "throughput 1000/1000": (throughput("--input-len", 1000, "--output-len", 1000),
                             "output_tokens_per_second", 1, "tok/s", 8780, 10200),
}


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def gpu():
    query = run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    return query.stdout.strip()


def measure(options, model, name):
    arguments, key, factor, unit, peer, wanted = CELLS[name]
    arguments = [options.lengths if a == "LENGTHS" else str(a) for a in arguments]
    with tempfile.NamedTemporaryFile(suffix=".json") as result:
        command = [options.quire, "bench", arguments[0], model, *arguments[1:], "--load-format", "dummy",
                   "--max-model-len", "9216", "--no-enable-prefix-caching", "--output-json", result.name]
        begin = time.time()
        done = run(command)
        if done.returncode != 0:
            print(f"{name:22} failed: {(done.stderr or done.stdout).strip()[-300:]}", flush=True)
            return
        report = json.load(open(result.name))
    value = report[key] * factor
    print(f"{name:22} {value:10.2f} {unit:6} vLLM {peer:8} wanted {wanted:8}   ({time.time() - begin:.0f} s)",
          flush=True)
    report.update(cell=name, value=value, unit=unit, commit=options.commit, gpu=options.gpu)
    report.pop("latencies", None)
    with open(options.out, "a") as out:
        out.write(json.dumps(report) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quire", default="build/cuda/bin/quire")
    parser.add_argument("--lengths", required=True, help="TSV of prompt_tokens and output_tokens")
    parser.add_argument("--out", default="bench/results/gpu.jsonl")
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--commit", default=run(["git", "rev-parse", "--short", "HEAD"]).stdout.strip())
    options = parser.parse_args()
    options.gpu = gpu()
    with tempfile.TemporaryDirectory() as model:
        pathlib.Path(model, "config.json").write_text(json.dumps(CONFIG))
        for name in CELLS:
            if options.only in name:
                measure(options, model, name)


if __name__ == "__main__":
    main()
