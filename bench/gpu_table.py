#!/usr/bin/env python3
"""Measures the cells that quire is compared in on one GPU, with dummy weights of Llama-3.1-8B's shape:

    bench/gpu_table.py --quire build/cuda/bin/quire --lengths LENGTHS.tsv --out bench/results/gpu.jsonl

Each cell is one `quire bench` command; a line of JSON with command, commit and hardware is appended per
cell.  The columns beside a result are vLLM 0.33's on an H200 and the figure that quire wants to reach.
With --transformers each cell of throughput is followed by Hugging Face Transformers' on the same requests
(bench/transformers_throughput.py), and by how many times quire is as fast.  With --checkpoint, a folder
of bench/make_checkpoint.py, it also measures the start of the process, which reads files.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from make_checkpoint import CONFIG

SHAPE = "Llama-3.1-8B shape, dummy bf16 weights"


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
# The same of the start of a process, which is measured once for both.
STARTS = {"start to first token": ("median_first_token_s", 1, "s", "35-98", 4),
          "resident host memory": ("max_resident_host_bytes", 1 / (1 << 20), "MiB", 2970, 1024)}
START_SECONDS = 300  # that Transformers may take beside the time it generates


def run(command, timeout=None):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)


def gpu():
    query = run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    return query.stdout.strip()


def append(options, report):
    report.update(commit=options.commit, gpu=options.gpu)
    with open(options.out, "a") as out:
        out.write(json.dumps(report) + "\n")


def bench(options, name, benchmark, model, *arguments):
    """The report of a `quire bench`; None if it failed."""
    with tempfile.NamedTemporaryFile(suffix=".json") as result:
        done = run([options.quire, "bench", benchmark, model, *arguments, "--output-json", result.name])
        if done.returncode != 0:
            print(f"{name:22} failed: {(done.stderr or done.stdout).strip()[-300:]}", flush=True)
            return None
        report = json.load(open(result.name))
        report["command"] = (report["command"].replace(model, "MODEL").replace(result.name, "RESULT.json")
                             .replace(options.lengths, pathlib.Path(options.lengths).name))
    return report


def measure(options, model, name):
    """The result of a cell; None if it failed."""
    arguments, key, factor, unit, peer, wanted = CELLS[name]
    benchmark, *arguments = [options.lengths if a == "LENGTHS" else str(a) for a in arguments]
    begin = time.time()
    report = bench(options, name, benchmark, model, *arguments, "--load-format", "dummy", "--max-model-len", "9216",
                   "--no-enable-prefix-caching")
    if report is None:
        return None
    value = report[key] * factor
    print(f"{name:22} {value:10.2f} {unit:6} vLLM {peer:8} wanted {wanted:8}   ({time.time() - begin:.0f} s)",
          flush=True)
    report.update(model=SHAPE, cell=name, value=value, unit=unit)
    report.pop("latencies", None)
    append(options, report)
    return value


def measure_start(options):
    report = bench(options, "start", "startup", options.checkpoint, "--max-model-len", "8192")
    if report is None:
        return
    report["max_resident_host_bytes"] = max(report["resident_host_bytes"])
    for name, (key, factor, unit, peer, wanted) in STARTS.items():
        value = report[key] * factor
        print(f"{name:22} {value:10.2f} {unit:6} vLLM {peer:8} wanted {wanted:8}", flush=True)
        append(options, {**report, "model": "Llama-3.1-8B shape, 16 GB of random bf16 files", "cell": name,
                         "value": value, "unit": unit})


def workload_of(options, name):
    """The requests of a cell of throughput, as the script for Transformers is told of them."""
    arguments = CELLS[name][0]
    if "LENGTHS" in arguments:
        return ["--lengths", options.lengths]
    return ["--input-len", arguments[arguments.index("--input-len") + 1],
            "--output-len", arguments[arguments.index("--output-len") + 1]]


def measure_transformers(options, model, name, mode, quire):
    script = pathlib.Path(__file__).with_name("transformers_throughput.py")
    command = [options.python, script, "--config", model, "--num-prompts", "1000", *workload_of(options, name),
               "--mode", mode, "--max-seconds", options.max_seconds]
    try:
        done = run([str(word) for word in command], timeout=options.max_seconds + START_SECONDS)
    except subprocess.TimeoutExpired as error:
        print(f"{name:22} Transformers, {mode}, failed: {error}", flush=True)
        return
    if done.returncode != 0:
        print(f"{name:22} Transformers, {mode}, failed: {done.stderr.strip()[-300:]}", flush=True)
        return
    report = json.loads(done.stdout.strip().splitlines()[-1])
    value = report["output_tokens_per_second"]
    limit = ", stopped by the limit" if report["stopped_by_limit"] else ""
    print(f"{name:22} {value:10.2f} tok/s  Transformers {report['transformers']} {report['mode']}, "
          f"{report['attention']}{limit}; quire is {quire / value:.2f} times as fast", flush=True)
    append(options, {**report, "model": SHAPE, "cell": f"{name}, Transformers {report['mode']}", "value": value,
                     "unit": "tok/s", "quire": quire, "ratio": quire / value})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quire", default="build/cuda/bin/quire")
    parser.add_argument("--lengths", required=True, help="TSV of prompt_tokens and output_tokens")
    parser.add_argument("--out", default="bench/results/gpu.jsonl")
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--commit", default=run(["git", "rev-parse", "--short", "HEAD"]).stdout.strip())
    parser.add_argument("--transformers", nargs="?", const="continuous,generate", default="",
                        help="compare with Transformers; its modes, separated by commas, if not both")
    parser.add_argument("--python", default=sys.executable, help="the one that has torch and transformers")
    parser.add_argument("--checkpoint", default="", help="a folder of bench/make_checkpoint.py: measures the start too")
    parser.add_argument("--max-seconds", type=float, default=120, help="that Transformers may generate")
    options = parser.parse_args()
    options.gpu = gpu()
    if options.checkpoint and any(options.only in name for name in STARTS):
        measure_start(options)
    with tempfile.TemporaryDirectory() as model:
        pathlib.Path(model, "config.json").write_text(json.dumps(CONFIG))
        for name in CELLS:
            if options.only not in name:
                continue
            value = measure(options, model, name)
            if value is None or CELLS[name][0][0] != "throughput":
                continue
            for mode in filter(None, options.transformers.split(",")):
                measure_transformers(options, model, name, mode, value)


if __name__ == "__main__":
    main()
