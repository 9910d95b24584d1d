"""Trains the demo adapters of quire-demo with PEFT, one folder each; on a GPU if there is one.

    python3 train_adapters.py ../../models/quire-demo ../../models/adapters

Only answers are learnt.  The learning rate falls to nothing as the steps, or the seconds, run out.
"""

import argparse
import json
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapter_tasks import TASKS, examples, rehearsals

# Fields of LoraConfig, and how many different examples to learn from.
ADAPTERS = {
    "sql": (dict(r=8, lora_alpha=16), 120_000),
    "arithmetic": (dict(r=12, lora_alpha=24), 300_000),
    "function-calls": (dict(r=8, lora_alpha=6, use_rslora=True), 80_000),
}
REHEARSALS = 0.15  # so many more, of what the base model knows


def encode(tokenizer, task, count):
    """[(ids, how many of them are the prompt)]"""
    chosen = examples(task, count, test=False) + rehearsals(int(count * REHEARSALS))
    ids = lambda texts: tokenizer(texts, add_special_tokens=False)["input_ids"]
    prompts = ids([example.prompt(tokenizer) for example in chosen])
    answers = ids([example.answer + tokenizer.eos_token for example in chosen])
    return [(p + a, len(p)) for p, a in zip(prompts, answers)]


def batches(rows, tokens_per_batch, rng):
    """Rows of much the same length together, in random order, for ever."""
    while True:
        rng.shuffle(rows)
        ready = []
        for start in range(0, len(rows), 20_000):
            batch = []
            for row in sorted(rows[start : start + 20_000], key=lambda row: len(row[0])):
                if len(row[0]) * (len(batch) + 1) > tokens_per_batch:
                    ready.append(batch)
                    batch = []
                batch.append(row)
        rng.shuffle(ready)
        yield from ready


def tensors(batch, device):
    """(ids, targets), padded on the right; targets are -100 but for the ids of answers, and one place earlier."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([row + [0] * (width - len(row)) for row, _ in batch])
    targets = torch.tensor([[-100] * (n - 1) + row[n:] + [-100] * (width - len(row) + 1) for row, n in batch])
    return ids.to(device, non_blocking=True), targets.to(device, non_blocking=True)


def loss_of(model, ids, targets):
    """No mask is needed: attention is causal and the padding comes last."""
    decoder = model.get_base_model()
    learnt = targets != -100
    hidden = decoder.model(input_ids=ids, use_cache=False).last_hidden_state[learnt]
    return F.cross_entropy(decoder.lm_head(hidden).float(), targets[learnt])


def train(model, rows, device, args):
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=args.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    source = batches(rows, args.tokens_per_batch, random.Random(0))
    start, total = time.monotonic(), 0.0
    for step in range(args.steps):
        done = max(step / args.steps, (time.monotonic() - start) / args.seconds)
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = args.learning_rate * min(1, (step + 1) / 50) * (1 - done)
        ids, targets = tensors(next(source), device)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = loss_of(model, ids, targets)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        total += loss.detach()
        if (step + 1) % args.log_every == 0:
            print(f"step {step + 1} loss {float(total) / args.log_every:.4f} {time.monotonic() - start:.0f} s", flush=True)
            total = 0.0


def save(model, directory):
    model.to(torch.bfloat16).save_pretrained(directory)
    (directory / "README.md").unlink()
    path = directory / "adapter_config.json"
    config = json.loads(path.read_text()) | {"base_model_name_or_path": "quire-demo"}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seconds", type=float, default=180, help="of each task, after its examples are made")
    parser.add_argument("--examples", type=int, help="how many to learn from, instead of the task's own number")
    parser.add_argument("--tokens-per-batch", type=int, default=16384)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--log-every", type=int, default=100)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    for task in args.tasks:
        torch.manual_seed(0)
        fields, count = ADAPTERS[task]
        rows = encode(tokenizer, task, args.examples or count)
        print(f"{task}: {len(rows)} examples of {sum(len(ids) for ids, _ in rows) / len(rows):.0f} tokens", flush=True)
        base = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16)
        config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", **fields)
        model = get_peft_model(base, config).to(device)
        train(model, rows, device, args)
        save(model, args.output / task)


if __name__ == "__main__":
    main()
