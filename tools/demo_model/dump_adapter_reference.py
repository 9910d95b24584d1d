"""Records what Transformers and PEFT compute with quire-demo and its adapters, for the parity test (CPU, no TF32).

    python3 dump_adapter_reference.py ../../models/quire-demo ../../models/adapters ../../tests/golden/lora/quire_demo.json

The format is that of dump_reference.py; each case also names its "adapter" and has the "answer" in words, greedy in fp32.
"""

import argparse
import json

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapter_tasks import TASKS, examples
from dump_reference import FIXED_IDS, greedy

CASES_PER_ADAPTER = 2  # beside the prompt that all share
SHARED_PROMPT = [{"role": "user", "content": "What is quire?"}]
NUM_TOKENS = 32


def prompts(tokenizer, task):
    shared = tokenizer.apply_chat_template(SHARED_PROMPT, add_generation_prompt=True, tokenize=False)
    return [example.prompt(tokenizer) for example in examples(task, CASES_PER_ADAPTER, test=True)] + [shared]


def answer(tokenizer, tokens):
    end = tokens.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in tokens else len(tokens)
    return tokenizer.decode(tokens[:end])


def case(task, text, tokenizer, full, half):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    logits = full(torch.tensor([ids])).logits[0, -1]
    top = logits.topk(50)
    fp32_greedy = greedy(full, ids, NUM_TOKENS)
    return {
        "adapter": task,
        "text": text,
        "ids": ids,
        "top_ids": top.indices.tolist(),
        "top_logits": [round(x, 6) for x in top.values.tolist()],
        "fixed_logits": [round(x, 6) for x in logits[FIXED_IDS].tolist()],
        "fp32_greedy": fp32_greedy,
        "bf16_greedy": greedy(half, ids, NUM_TOKENS),
        "answer": answer(tokenizer, fp32_greedy["tokens"]),
    }


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("adapters")
    parser.add_argument("output")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)

    def load(task, dtype):
        base = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype, attn_implementation="eager")
        return PeftModel.from_pretrained(base, f"{args.adapters}/{task}", autocast_adapter_dtype=dtype == torch.float32).eval()

    cases = []
    for task in TASKS:
        full, half = load(task, torch.float32), load(task, torch.bfloat16)
        cases += [case(task, text, tokenizer, full, half) for text in prompts(tokenizer, task)]
    for item in cases:
        print(f"{item['adapter']}: {item['text'].split('<|im_start|>user')[1][1:90]!r} -> {item['answer']!r}")
    with open(args.output, "w") as out:
        json.dump({"source": "transformers LlamaForCausalLM with peft, eager attention, CPU", "fixed_ids": FIXED_IDS, "cases": cases}, out)
        out.write("\n")


if __name__ == "__main__":
    main()
