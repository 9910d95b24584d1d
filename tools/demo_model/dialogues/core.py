"""Shared pieces: the `{a|b}` alternatives, small list phrasing and how users vary what they type."""

import re

CHOICE = re.compile(r"\{([^{}]*)\}")


def spin(rng, text, **slots):
    """Picks one of each `{a|b|c}` (innermost first), then fills `[name]` from slots."""
    while True:
        text, count = CHOICE.subn(lambda m: rng.choice(m.group(1).split("|")), text)
        if not count:
            break
    for name, value in slots.items():
        text = text.replace(f"[{name}]", str(value))
    return text


def capital(text):
    return text[:1].upper() + text[1:]


def a_or_an(noun):
    return ("an " if noun[0].lower() in "aeiou" else "a ") + noun


def join_and(items):
    items = [str(item) for item in items]
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def bullets(items):
    return "\n".join(f"- {item}" for item in items)


def numbered(items):
    return "\n".join(f"{i}. {item}" for i, item in enumerate(items, 1))


PREFIXES = ["Please tell me: ", "Quick question: ", "Hi! ", "Hello. ", "Hey, ", "Tell me, ", "Question: ", "One question: "]
SUFFIXES = [" Please.", " Thanks!", " Thank you.", " Please be brief.", " Keep it short."]


IMPERATIVE = re.compile(r"(Explain|Tell|Give|Write|List|Show|Describe|Introduce|Say|Add|Subtract|Name|Write)\b")


def as_typed(rng, question):
    """Users drop capitals and punctuation, add a greeting, or make a typing slip."""
    if IMPERATIVE.match(question) and question.endswith("?"):
        question = question[:-1] + "."
    roll = rng.random()
    if roll < 0.62:
        return question
    if roll < 0.72:
        return question.lower().rstrip("?.!")
    if roll < 0.80:
        return question.rstrip("?.!")
    if roll < 0.88:
        return rng.choice(PREFIXES) + question
    if roll < 0.94:
        return question + rng.choice(SUFFIXES)
    if roll < 0.97 and len(question) > 12:
        i = rng.randrange(3, len(question) - 2)
        if question[i].isalpha() and question[i + 1].isalpha():
            return question[:i] + question[i + 1] + question[i] + question[i + 2 :]
    return question.lower()
