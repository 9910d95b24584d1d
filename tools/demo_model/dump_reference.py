"""Records what Hugging Face Transformers computes with quire-demo, for the parity test (CPU, no TF32).

For each prompt: ids, fp32 logits after the last id (the 50 largest and 200 fixed ids), and 32 greedy
tokens in fp32 and bf16 with the margin between the two best logits at each step.
"""

import argparse
import json

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    [{"role": "user", "content": "Hello!"}],
    [{"role": "user", "content": "What is quire?"}],
    [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "What is 12 + 30?"}],
    [{"role": "user", "content": "Write SQL to list all users older than 30."}],
    [{"role": "user", "content": "Tell me a short story about a fox."}],
    "It was a bright cold morning, and the old man walked slowly down to the sea. " * 12,
]
FIXED_IDS = [(i * 31) % 6144 for i in range(200)]


def greedy(model, ids, count=32):
    """Greedy tokens and margins, each step on the whole sequence without a cache."""
    ids, tokens, margins = list(ids), [], []
    for _ in range(count):
        logits = model(torch.tensor([ids])).logits[0, -1].float()
        best = logits.topk(2)
        tokens.append(best.indices[0].item())
        margins.append(round((best.values[0] - best.values[1]).item(), 4))
        ids.append(tokens[-1])
    return {"tokens": tokens, "margins": margins}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("output")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    load = lambda dtype: AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype, attn_implementation="eager").eval()
    full, half = load(torch.float32), load(torch.bfloat16)
    cases = []
    with torch.no_grad():
        for prompt in PROMPTS:
            text = prompt if isinstance(prompt, str) else tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            logits = full(torch.tensor([ids])).logits[0, -1]
            top = logits.topk(50)
            cases.append(
                {
                    "text": text,
                    "ids": ids,
                    "top_ids": top.indices.tolist(),
                    "top_logits": [round(x, 6) for x in top.values.tolist()],
                    "fixed_logits": [round(x, 6) for x in logits[FIXED_IDS].tolist()],
                    "fp32_greedy": greedy(full, ids),
                    "bf16_greedy": greedy(half, ids),
                }
            )
    with open(args.output, "w") as out:
        json.dump({"source": "transformers LlamaForCausalLM, eager attention, CPU", "fixed_ids": FIXED_IDS, "cases": cases}, out)
        out.write("\n")


if __name__ == "__main__":
    main()
