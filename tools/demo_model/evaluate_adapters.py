"""Asks the base model and each demo adapter the same unseen questions, greedily; prints a Markdown table.

    python3 evaluate_adapters.py ../../models/quire-demo ../../models/adapters

"exact" is the share of answers equal to the generator's; "right" that of answers which mean the same (the same last
number, the same query but for case and spaces, the same function call in any dialect).
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapter_tasks import TASKS, examples


@torch.no_grad()
def answers(model, tokenizer, prompts, batch_size):
    """In the order of the prompts; the longest are asked first."""
    result = {}
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        inputs = tokenizer([prompts[i] for i in part], return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
        out = model.generate(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=120,
                             do_sample=False, temperature=None, top_p=None)
        texts = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        result.update(zip(part, texts))
    return [result[i] for i in range(len(prompts))]


def scores(task, chosen, said):
    """{kind: (exact, right, count)} with "all" for all kinds."""
    table = defaultdict(lambda: [0, 0, 0])
    for example, text in zip(chosen, said):
        for kind in (example.kind, "all"):
            row = table[kind]
            row[0] += text == example.answer
            row[1] += TASKS[task].is_right(text, example.answer)
            row[2] += 1
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("adapters", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--show", type=int, default=0, help="print so many wrong answers of each adapter to stderr")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    print("| adapter | questions | count | base exact | adapter exact | base right | adapter right |\n|---|---|---:|---:|---:|---:|---:|")
    for task in args.tasks:
        base = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16).to(device).eval()
        model = PeftModel.from_pretrained(base, args.adapters / task, autocast_adapter_dtype=False).eval()
        chosen = examples(task, args.count, test=True)
        prompts = [example.prompt(tokenizer) for example in chosen]
        with model.disable_adapter():
            before = scores(task, chosen, answers(model, tokenizer, prompts, args.batch_size))
        said = answers(model, tokenizer, prompts, args.batch_size)
        after = scores(task, chosen, said)
        percent = lambda part, count: f"{100 * part / count:.1f} %"
        for kind in sorted(after, key=lambda kind: (kind != "all", kind)):
            (exact, right, count), (now_exact, now_right, _) = before[kind], after[kind]
            cells = [percent(n, count) for n in (exact, now_exact, right, now_right)]
            print(f"| {task} | {kind} | {count} | {' | '.join(cells)} |", flush=True)
        wrong = [(e, text) for e, text in zip(chosen, said) if not TASKS[task].is_right(text, e.answer)]
        for example, text in wrong[: args.show]:
            print(f"  {example.messages[-1]['content']!r}\n    said {text!r}\n    want {example.answer!r}", file=sys.stderr)


if __name__ == "__main__":
    main()
