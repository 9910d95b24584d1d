"""Makes the chat data: deterministic random dialogues, one per index and seed.

As a program it prints dialogues as JSONL; encode_corpus.py and evaluate.py use it as a module.
"""

import argparse
import json
import random

from dialogues.arithmetic import arithmetic
from dialogues.chat import identity, names, refusals, small_talk
from dialogues.core import as_typed, spin
from dialogues.facts import facts
from dialogues.quire_docs import quire_docs
from dialogues.sql import sql
from dialogues.stories import stories
from dialogues.text_tasks import text_tasks
from dialogues.tool_calls import tool_calls

# (generator, share of dialogues, whether the user's typing is varied)
SKILLS = {
    "small_talk": (small_talk, 6, True),
    "identity": (identity, 6, True),
    "refusals": (refusals, 9, True),
    "names": (names, 8, False),
    "quire_docs": (quire_docs, 15, True),
    "arithmetic": (arithmetic, 20, False),
    "facts": (facts, 9, True),
    "text_tasks": (text_tasks, 9, False),
    "sql": (sql, 11, False),
    "stories": (stories, 8, True),
    "tool_calls": (tool_calls, 9, False),
}
MIXABLE = ["small_talk", "identity", "refusals", "quire_docs", "arithmetic", "facts", "text_tasks", "sql", "stories"]
SYSTEM_SHARE, MIXED_SHARE = 0.22, 0.16
SYSTEM = [
    "You are {a helpful|a friendly|a polite|a kind|a small} assistant.",
    "You are a helpful assistant. {Answer briefly.|Be polite.|Answer the questions of the user.|Be short and clear.|}",
    "You are quire-demo, a small {language |}model{ that comes with quire|}.",
    "{Answer the user's questions|Help the user|Be helpful and polite|Answer in one or two sentences}.",
    "You are a helpful AI assistant.",
    "{Be concise.|You are a chatbot.|You are an assistant.|You answer questions about quire.}",
]
TOOL_HEAD = "# Tools\n\nYou may call these functions:\n<tools>"
TOOL_TAIL = '\n</tools>\n\nTo call one, answer with its name and arguments as JSON:\n<tool_call>\n{"name": <name>, "arguments": <arguments>}\n</tool_call>'


def _turns(rng, skill, book_sentences):
    generate, _, varied = SKILLS[skill]
    turns = generate(rng, book_sentences) if skill == "text_tasks" else generate(rng)
    return [(as_typed(rng, q) if varied else q.lower() if rng.random() < 0.06 and skill == "arithmetic" else q, a) for q, a in turns]


def make(seed, index, book_sentences=(), skill=None):
    """Dialogue number `index`: {"skill", "messages", "tools"}."""
    rng = random.Random(f"{seed}:{index}")
    mixed = skill is None and rng.random() < MIXED_SHARE
    skill = skill or rng.choices(list(SKILLS), [s[1] for s in SKILLS.values()])[0]
    tools = None
    if skill == "tool_calls":
        messages, tools = tool_calls(rng)
    else:
        turns = _turns(rng, skill, book_sentences)
        if mixed:
            for _ in range(rng.randrange(1, 5)):
                turns += _turns(rng, rng.choice(MIXABLE), book_sentences)[:2]
        messages = [m for q, a in turns for m in ({"role": "user", "content": q}, {"role": "assistant", "content": a.strip()})]
    if rng.random() < SYSTEM_SHARE:
        messages.insert(0, {"role": "system", "content": spin(rng, rng.choice(SYSTEM)).strip()})
    return {"skill": skill, "messages": messages, "tools": tools}


def _assistant_text(message):
    calls = [
        f'<tool_call>\n{{"name": "{call["function"]["name"]}", "arguments": {json.dumps(call["function"]["arguments"], ensure_ascii=False)}}}\n</tool_call>'
        for call in message.get("tool_calls", [])
    ]
    return "\n".join([message["content"]] * bool(message["content"]) + calls)


def render(dialogue):
    """[(text, is_answer)]: the chat template's text, split so that only answers are learnt in phase 2."""
    messages, parts = dialogue["messages"], []
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    if dialogue["tools"]:
        shown = "".join("\n" + json.dumps(tool, ensure_ascii=False) for tool in dialogue["tools"])
        system = (system + "\n\n" if system else "") + TOOL_HEAD + shown + TOOL_TAIL
    if system:
        parts.append((f"<|im_start|>system\n{system}<|im_end|>\n", False))
    for message in messages:
        if message["role"] == "user":
            parts.append((f"<|im_start|>user\n{message['content']}<|im_end|>\n", False))
        elif message["role"] == "tool":
            parts.append((f"<|im_start|>tool\n<tool_response>\n{message['content']}\n</tool_response><|im_end|>\n", False))
        elif message["role"] == "assistant":
            parts.append(("<|im_start|>assistant\n", False))
            parts.append((_assistant_text(message) + "<|im_end|>", True))
            parts.append(("\n", False))
    return parts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", default="train")
    args = parser.parse_args()
    for index in range(args.count):
        print(json.dumps(make(args.seed, index), ensure_ascii=False))


if __name__ == "__main__":
    main()
