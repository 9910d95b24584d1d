"""Asks the trained model held-out questions: exact-match scores per skill and a page of sample answers."""

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import make_dialogues

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather",
        "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
    },
}
PROMPTS = [
    "Hello!", "How are you?", "Who are you?", "What can you do?", "What is quire?", "How do I start the server?",
    "what is paged attention", "Explain continuous batching in simple words.", "What does prefix caching do?",
    "Which port does the server use?", "How can I set an API key for the server?", "Which models can I run with quire?",
    "Does quire support Llama 3?", "What licence is quire under?", "Is quire written in Python?", "How do I choose AVX2?",
    "What is 12 + 30?", "What is 7 times 8?", "125 + 348", "What is 500 - 137?", "Which is larger, 89 or 98?",
    "Anna has 12 apples and buys 7 more. How many apples does Anna have?", "Count from 1 to 10.",
    "Write SQL to list all users older than 30.", "Table: books(id, title, author, year)\nWrite a SQL query to count the books for each author.",
    "Write SQL to find the average salary of all employees.", "What is the capital of France?", "What is the capital of Japan?",
    "What day comes after Monday?", "Name three fruits.", "Spell the word window.", "Repeat: The quick brown fox jumps over the lazy dog.",
    "Tell me a short story.", "Tell me a short story about a fox.", "Write a story about a brave little robot.",
    "What is the opposite of hot?", "Tell me a joke.", "Can you explain black holes?", "What is the meaning of life?", "Thank you!",
    "Write a poem.", "How do I repair an old radio?", "Who was Hannibal?", "asdf qwer", "Say hello in French.",
]
TEXTS = ["Once upon a time", "It was a dark and stormy night, and", "The old man looked at the sea and", "She opened the door and saw"]
CONVERSATION = ["Hi, my name is Laura.", "What is quire?", "What is 20 + 22?", "What is my name?"]


class Answerer:
    def __init__(self, folder):
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).cuda().eval()

    def prompt(self, messages, tools=None):
        return self.tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, tokenize=False)

    def complete(self, prompts, max_new_tokens=160, temperature=0.0):
        inputs = self.tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = {k: v.cuda() for k, v in inputs.items() if k in ("input_ids", "attention_mask")}
        sampling = {"do_sample": True, "temperature": temperature, "top_p": 0.9} if temperature else {"do_sample": False, "temperature": None, "top_p": None}
        with torch.no_grad():
            out = self.model.generate(**inputs, max_new_tokens=max_new_tokens, **sampling)
        return self.tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def expected_text(dialogue):
    """The first answer as the template would write it."""
    parts = make_dialogues.render(dialogue)
    return next(text for text, is_answer in parts if is_answer).removesuffix("<|im_end|>")


def scores(answerer, count):
    """Greedy exact match of the first answer, for the skills that have one right answer."""
    result = {}
    for skill in ("arithmetic", "sql", "tool_calls", "facts", "text_tasks", "quire_docs"):
        prompts, wanted = [], []
        for index in range(count):
            dialogue = make_dialogues.make("validation", index, skill=skill)
            messages = dialogue["messages"]
            first = next(i for i, m in enumerate(messages) if m["role"] == "assistant")
            prompts.append(answerer.prompt(messages[:first], dialogue["tools"]))
            wanted.append(expected_text(dialogue))
        answers = answerer.complete(prompts, 100)
        normal = lambda text: text.strip().removeprefix("```sql\n").removesuffix("\n```").replace(" plus ", " + ").replace(" minus ", " - ").replace(" is ", " = ")
        wrong = [(p, a, w) for p, a, w in zip(prompts, answers, wanted) if normal(a) != normal(w)]
        result[skill] = 1 - len(wrong) / count
        for p, a, w in wrong[:4]:
            print(f"  {skill}: {p[-110:]!r}\n    said {a!r}\n    want {w!r}")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    args = parser.parse_args()
    torch.manual_seed(0)
    answerer = Answerer(args.model)
    lines = ["scores " + json.dumps(scores(answerer, args.count))]

    chats = [answerer.prompt([{"role": "user", "content": p}]) for p in PROMPTS]
    for p, cold, warm in zip(PROMPTS, answerer.complete(chats), answerer.complete(chats, temperature=0.7)):
        lines.append(f"> {p}\n  greedy: {cold}\n  T=0.7:  {warm}")
    lines += [f"TEXT {t}|{a}" for t, a in zip(TEXTS * 2, answerer.complete(TEXTS, 80) + answerer.complete(TEXTS, 80, 0.7))]

    call = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = answerer.complete([answerer.prompt(call, [WEATHER_TOOL])])[0]
    lines.append(f"TOOL {answer}")
    call += [
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "get_weather", "arguments": {"location": "Paris"}}}]},
        {"role": "tool", "content": '{"temperature": 21, "condition": "sunny"}'},
    ]
    lines.append(f"TOOL RESULT {answerer.complete([answerer.prompt(call, [WEATHER_TOOL])])[0]}")
    messages = [{"role": "system", "content": "You are a helpful assistant."}]
    for question in CONVERSATION:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answerer.complete([answerer.prompt(messages)])[0]})
    lines.append("CONVERSATION " + json.dumps(messages, indent=1))
    args.samples.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
