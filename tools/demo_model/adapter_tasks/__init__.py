"""What the demo adapters are trained on and tested with: one file per task, each with

    example(rng) -> Example, and  is_right(answer, wanted) -> whether an answer means what it should.

An example belongs to the test set or the training set by a checksum of its prompt, so the two never meet.
"""

import random
import zlib

import make_dialogues

from . import arithmetic, function_calls, sql
from .example import Example

TASKS = {"sql": sql, "arithmetic": arithmetic, "function-calls": function_calls}
TEST_SHARE = 16  # one prompt in so many is kept for testing


def examples(task, count, test):
    """`count` different examples of the training or of the test set, always the same."""
    rng = random.Random(f"{task}:{test}")
    chosen = {}
    while len(chosen) < count:
        example = TASKS[task].example(rng)
        key = repr((example.messages, example.tools))
        if (zlib.crc32(key.encode()) % TEST_SHARE == 0) == test:
            chosen.setdefault(key, example)
    return list(chosen.values())


def rehearsals(count):
    """Questions that quire-demo was trained with, so that an adapter does not forget the rest of the world."""
    chosen = []
    index = 0
    while len(chosen) < count:
        dialogue = make_dialogues.make("rehearsal", index)
        index += 1
        if dialogue["tools"]:
            continue
        messages = dialogue["messages"]
        first = next(i for i, message in enumerate(messages) if message["role"] == "assistant")
        chosen.append(Example("rehearsal", messages[:first], messages[first]["content"]))
    return chosen
