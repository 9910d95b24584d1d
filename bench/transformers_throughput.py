#!/usr/bin/env python3
"""Output tokens per second of Hugging Face Transformers on one GPU, with random bf16 weights:

    bench/transformers_throughput.py --config DIR --num-prompts 1000 --input-len 512 --output-len 512

DIR holds a config.json.  Prompts are random token ids, end tokens are ignored, and sampling is at
temperature 1, as in `quire bench throughput`.  Modes: continuous (continuous batching over a paged cache)
and generate (model.generate, batch after batch).  After --max-seconds the tokens made so far count.  The
last line of the output is the result as JSON.  Needs torch and transformers 5.
"""
import argparse
import importlib.util
import json
import math
import os
import random
import sys
import time
import traceback

import torch
import transformers

NO_END_TOKEN = -1


def read_lengths(options):
    """(prompt tokens, output tokens) of each request; a file's lines repeat as `quire bench` repeats them."""
    if not options.lengths:
        return [(options.input_len, options.output_len)] * options.num_prompts
    with open(options.lengths) as file:
        lines = [line.split()[:2] for line in file]
    lengths = [(int(a), int(b)) for a, b in lines if a.isdigit()]
    return [lengths[i % len(lengths)] for i in range(options.num_prompts)]


def make_requests(options, vocab_size):
    """(token ids, output tokens) of each request."""
    draw = random.Random(0)
    return [([draw.randrange(vocab_size) for _ in range(prompt)], output) for prompt, output in read_lengths(options)]


def choose_attention(options):
    if options.attention != "auto":
        return options.attention
    return "flash_attention_2" if importlib.util.find_spec("flash_attn") else "sdpa"


def make_model(directory, attention, device):
    config = transformers.AutoConfig.from_pretrained(directory)
    with torch.device(device):
        try:
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16,
                                                                  attn_implementation=attention)
        except TypeError:  # before 5
            model = transformers.AutoModelForCausalLM.from_config(config, torch_dtype=torch.bfloat16,
                                                                  attn_implementation=attention)
    return model.eval()


def generation_config(requests):
    return transformers.GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                                         max_new_tokens=max(output for _, output in requests),
                                         eos_token_id=NO_END_TOKEN, pad_token_id=0)


def make_manager(model, requests):
    config = generation_config(requests)
    try:  # so that it can size its batches as generate_batch does
        from transformers.generation.continuous_batching.utils import WorkloadHints
        hints = WorkloadHints(max_prompt_length=max(len(ids) for ids, _ in requests),
                              max_generated_length=config.max_new_tokens, num_requests=len(requests))
        return model.init_continuous_batching(generation_config=config, workload_hints=hints)
    except (ImportError, TypeError):
        return model.init_continuous_batching(generation_config=config)


def unfinished_tokens(manager):
    """Tokens of the requests that are being generated; 0 where this version does not tell."""
    try:
        states = list(manager.batch_processor.scheduler.active_requests.values())
        return sum(len(state.to_generation_output().generated_tokens) for state in states)
    except (AttributeError, RuntimeError):
        return 0


def run_continuous(model, requests, options):
    """Its result, without stopping the manager: its thread would go on to the last request."""
    manager = make_manager(model, requests)
    begin = time.perf_counter()
    if hasattr(manager, "warmup"):
        manager.warmup()
    warmup_s = time.perf_counter() - begin
    begin = time.perf_counter()
    for i, (ids, output) in enumerate(requests):
        manager.add_request(ids, request_id=f"r{i}", max_new_tokens=output)
    manager.start()  # with requests there: it may not start without
    num_finished = num_tokens = 0
    while num_finished < len(requests) and time.perf_counter() - begin < options.max_seconds:
        result = manager.get_result(timeout=0.5)
        if result is None:
            if not manager.is_running():
                raise RuntimeError("continuous batching ended early; its log says why")
            continue
        if getattr(result, "error", None):
            raise RuntimeError(f"a request failed: {result.error}")
        num_finished += 1
        num_tokens += len(result.generated_tokens)
    elapsed = time.perf_counter() - begin
    if num_finished < len(requests):
        num_tokens += unfinished_tokens(manager)
    if num_tokens == 0:
        raise RuntimeError("no token came before the limit")
    return {"warmup_s": warmup_s, "elapsed_time": elapsed, "finished_requests": num_finished,
            "output_tokens": num_tokens}


class Deadline(transformers.StoppingCriteria):
    def __init__(self, end):
        self.end = end

    def __call__(self, input_ids, scores, **kwargs):
        is_over = time.perf_counter() > self.end
        return torch.full((input_ids.shape[0],), is_over, dtype=torch.bool, device=input_ids.device)


def generate_batch(model, batch, deadline):
    """The number of tokens that each request of the batch got, at most those it wants."""
    longest = max(len(ids) for ids, _ in batch)
    padded = [[0] * (longest - len(ids)) + ids for ids, _ in batch]
    mask = [[0] * (longest - len(ids)) + [1] * len(ids) for ids, _ in batch]
    with torch.inference_mode():
        output = model.generate(input_ids=torch.tensor(padded, device=model.device),
                                attention_mask=torch.tensor(mask, device=model.device),
                                generation_config=generation_config(batch),
                                stopping_criteria=transformers.StoppingCriteriaList([deadline]))
    return [min(output.shape[1] - longest, wanted) for _, wanted in batch]


def generate_all(model, requests, batch_size, max_seconds):
    # Batches of like lengths waste the least; the largest first, so that they fit or fail at once.
    waiting = sorted(requests, key=lambda request: (request[1], len(request[0])), reverse=True)
    begin = time.perf_counter()
    deadline = Deadline(begin + max_seconds)
    num_finished = num_tokens = 0
    for i in range(0, len(waiting), batch_size):
        if time.perf_counter() > deadline.end:
            break
        batch = waiting[i:i + batch_size]
        tokens = generate_batch(model, batch, deadline)
        num_tokens += sum(tokens)
        num_finished += sum(got == wanted for got, (_, wanted) in zip(tokens, batch))
    return {"batch_size": batch_size, "elapsed_time": time.perf_counter() - begin,
            "finished_requests": num_finished, "output_tokens": num_tokens}


def run_generate(model, requests, options):
    generate_batch(model, [(ids, 2) for ids, _ in requests[:2]], Deadline(math.inf))  # warm-up
    batch_size = options.batch_size
    while True:
        try:
            return generate_all(model, requests, batch_size, options.max_seconds)
        except torch.cuda.OutOfMemoryError:
            if batch_size == 1:
                raise
        batch_size //= 2
        torch.cuda.empty_cache()


def measure(options):
    attention = choose_attention(options)
    model = make_model(options.config, attention, options.device)
    requests = make_requests(options, model.config.vocab_size)
    mode = options.mode
    if mode == "auto":
        mode = "continuous" if hasattr(model, "init_continuous_batching") else "generate"
    result = (run_continuous if mode == "continuous" else run_generate)(model, requests, options)
    return {"benchmark": "transformers throughput", "date": time.strftime("%Y%m%d-%H%M%S", time.gmtime()),
            "mode": mode, "attention": attention, "transformers": transformers.__version__, "torch": torch.__version__, "num_requests": len(requests),
            **result, "output_tokens_per_second": result["output_tokens"] / result["elapsed_time"],
            "stopped_by_limit": result["finished_requests"] < len(requests)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="folder with a config.json")
    parser.add_argument("--num-prompts", type=int, default=1000)
    parser.add_argument("--input-len", type=int, default=1024)
    parser.add_argument("--output-len", type=int, default=128)
    parser.add_argument("--lengths", default="", help="TSV of prompt_tokens and output_tokens, instead")
    parser.add_argument("--mode", choices=["auto", "continuous", "generate"], default="auto",
                        help="auto: continuous if this version has it")
    parser.add_argument("--attention", default="auto", help="auto: flash_attention_2 if installed, else sdpa")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch-size", type=int, default=128, help="of generate; halved while memory is short")
    parser.add_argument("--max-seconds", type=float, default=120)
    status = 1
    try:
        print(json.dumps(measure(parser.parse_args())), flush=True)
        status = 0
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(status)  # the manager's thread may have requests left


if __name__ == "__main__":
    main()
