"""Longer numbers than quire-demo knows, worked out aloud where one step is too much for it."""

import re

from dialogues.arithmetic import ASK
from dialogues.core import spin

from .example import Example


def _number(rng, least, most):
    digits = rng.randrange(least, most + 1)
    return rng.randrange(10 ** (digits - 1), 10**digits)


def _question(rng, op, a, b):
    question = spin(rng, ASK[op], a=a, b=b)
    asks = question.startswith(("What", "How", "Can"))
    return question + (rng.choice(["?", "?", ""]) if asks else rng.choice([".", "", ""]) if "=" not in question else "")


def _sum(rng):
    a, b = _number(rng, 2, 5), _number(rng, 2, 5)
    return "sum", _question(rng, "+", a, b), f"{a} + {b} = {a + b}."


def _difference(rng):
    a, b = _number(rng, 2, 5), _number(rng, 2, 5)
    if rng.random() < 0.8:
        a, b = max(a, b), min(a, b)
    return "difference", _question(rng, "-", a, b), f"{a} - {b} = {a - b}."


def _product(rng):
    """By the digits of the second factor, then the sum of the parts."""
    a, b = _number(rng, 2, 3), _number(rng, 2, 2)
    parts = [a * (b // 10) * 10, a * (b % 10)]
    working = f"{a} * {b // 10 * 10} = {parts[0]}, {a} * {b % 10} = {parts[1]}, {parts[0]} + {parts[1]} = {a * b}."
    return "product", _question(rng, "*", a, b), f"{working} {a} * {b} = {a * b}."


def _chain(rng):
    """Three numbers, from left to right or the product first."""
    a, b, c = _number(rng, 1, 3), _number(rng, 1, 3), _number(rng, 1, 3)
    first, second = rng.choice("+-"), rng.choice("+-*")
    if second == "*":
        b, c = _number(rng, 1, 2), rng.randrange(2, 10)
        inner = b * c
        result = a + inner if first == "+" else a - inner
        working = f"{b} * {c} = {inner}, {a} {first} {inner} = {result}."
    else:
        inner = a + b if first == "+" else a - b
        result = inner + c if second == "+" else inner - c
        working = f"{a} {first} {b} = {inner}, {inner} {second} {c} = {result}."
    ask = rng.choice(["What is {}?", "{}", "Calculate {}.", "How much is {}?", "Compute {}", "{} ="])
    expression = f"{a} {first} {b} {second} {c}"
    return "chain", ask.format(expression), f"{working} {expression} = {result}."


def example(rng):
    kind, question, answer = rng.choices([_sum, _difference, _product, _chain], [3, 3, 3, 2])[0](rng)
    return Example(kind, [{"role": "user", "content": question}], answer)


def is_right(answer, wanted):
    """Whether the last number is the same, however it was found."""
    last = lambda text: re.findall(r"-?\d+", text)[-1:]
    return last(answer) == last(wanted)
