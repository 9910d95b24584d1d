"""Small tasks on the user's own text: spell, repeat, count, turn round, pick words, answer from a passage."""

from .chat import NAMES
from .core import join_and, spin

WORDS = """apple house river garden window morning teacher machine paper table animal summer winter orange yellow mountain
bridge castle forest doctor engine flower hammer island jungle kitchen ladder market needle ocean pencil quarter rabbit
silver ticket umbrella valley water letter number picture planet school simple strong quiet bright village story token
server memory python cache batch model block page quire light night stone cloud chair bread cheese sugar honey butter
basket bottle candle carpet danger dinner dragon eagle family father finger friend golden harbour hunter journey knight
lemon lion monkey mother music nature palace people pepper poet prince queen road rocket sailor season shadow ship snow
soldier spoon spring street sunset temple thunder tiger tower travel tree uncle violin voice wagon wolf wonder""".split()
SHORT = [w for w in WORDS if len(w) < 8]
SUBJECTS = "the old man|my sister|a small dog|the teacher|our neighbour|the king|a young girl|the sailor|the farmer|her brother|the doctor|a tired horse|the boy|the queen|the cook".split("|")
VERBS = "walked to|looked at|talked about|came back from|painted|remembered|found|ran past|dreamed of|stood near|waited at|sang about|returned to".split("|")
PLACES = "the river|the old house|the market|the blue door|the garden|the station|the harbour|the green hill|the church|the school|the dark forest|the sea|the bridge|the bakery".split("|")
TIMES = "in the morning|at night|last summer|before dinner|after the rain|on Sunday|every day|for a long time|with a smile|in silence|without a word".split("|")


def sentence(rng):
    text = f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(PLACES)} {rng.choice(TIMES)}."
    return text[0].upper() + text[1:]


def _spell(rng):
    word = rng.choice(WORDS + [n.lower() for n in NAMES])
    choice = rng.randrange(6)
    if choice in (0, 1):
        return spin(rng, f"{{Spell|How do you spell|Please spell|Spell the word|Can you spell}} {{[w]|\"[w]\"}}.", w=word), "-".join(word.upper()) + "."
    if choice == 2:
        return spin(rng, "{How many letters are in|How many letters has} the word [w]?", w=word), f"The word {word} is spelled {'-'.join(word.upper())}. It has {len(word)} letters."
    if choice == 3:
        return spin(rng, "{What is the first letter of|Which letter does the word begin with:} [w]?", w=word), f"The first letter of {word} is {word[0].upper()}."
    if choice == 4:
        return f"What is the last letter of {word}?", f"The word {word} is spelled {'-'.join(word.upper())}. The last letter is {word[-1].upper()}."
    return spin(rng, "{Write [w] in capital letters|Write [w] in upper case|Make [w] upper case}.", w=word), word.upper()


def _repeat(rng, book_sentence):
    roll = rng.random()
    text = book_sentence if book_sentence and roll < 0.5 else sentence(rng) if roll < 0.75 else " ".join(rng.choices(SHORT, k=rng.randrange(1, 6)))
    ask = "{Repeat|Repeat after me|Say|Please repeat|Repeat this|Repeat this sentence|Copy this text|Write exactly this|Please say}: "
    return spin(rng, ask) + text, text


def _pick(rng):
    words = rng.sample(SHORT, rng.randrange(3, 7))
    choice = rng.randrange(7)
    listed = ", ".join(words)
    if choice == 0:
        return f"{{Sort|Order}} these words by the alphabet: {listed}.", ", ".join(sorted(words))
    if choice == 1:
        return f"What is the first word of this list: {listed}?", f"The first word is {words[0]}."
    if choice == 2:
        return f"What is the last word of this list: {listed}?", f"The last word is {words[-1]}."
    if choice == 3:
        return f"Write these words in reverse order: {listed}.", ", ".join(reversed(words))
    if choice == 4:
        return f"How many words are in this list: {listed}?", f"There are {len(words)} words."
    if choice == 5:
        return f"Make a list of these: {join_and(words)}.", "\n".join(f"- {w}" for w in words)
    word = rng.choice(words)
    return f"{{Write a sentence with the word {word}|Use the word {word} in a sentence|Make a sentence with {word}}}.", rng.choice(
        [f"I think about the word {word} every day.", f"We talked about {word} in the evening.", f"She wrote the word {word} on a piece of paper.", f"The children learned the word {word} at school."])


def _json(rng):
    name, age, city = rng.choice(NAMES), rng.randrange(5, 90), rng.choice("Paris London Berlin Rome Madrid Oslo Vienna Prague".split())
    choice = rng.randrange(3)
    if choice == 0:
        return f"{{Write|Give me|Return}} JSON with the name {name} and the age {age}.", f'{{"name": "{name}", "age": {age}}}'
    if choice == 1:
        return f"Turn this into JSON: {name} is {age} years old and lives in {city}.", f'{{"name": "{name}", "age": {age}, "city": "{city}"}}'
    words = rng.sample(SHORT, 3)
    return f"Write a JSON list with the words {join_and(words)}.", "[" + ", ".join(f'"{w}"' for w in words) + "]"


def _passage(rng):
    """A question whose answer stands in the text given."""
    name, other = rng.sample(NAMES, 2)
    city = rng.choice("Paris London Berlin Rome Madrid Oslo Vienna Prague Lisbon Dublin Athens Tokyo Cairo Lima".split())
    job = rng.choice("teacher doctor baker farmer nurse sailor engineer lawyer cook painter".split())
    age, pet = rng.randrange(18, 80), rng.choice("dog cat horse parrot rabbit".split())
    facts = [
        (f"{name} lives in {city}.", f"Where does {name} live?", f"{name} lives in {city}."),
        (f"{name} is {age} years old.", f"How old is {name}?", f"{name} is {age} years old."),
        (f"{name} works as {'an' if job[0] == 'e' else 'a'} {job}.", f"What is {name}'s job?", f"{name} works as {'an' if job[0] == 'e' else 'a'} {job}."),
        (f"{name} has a {pet} called {other}.", f"What is the name of {name}'s {pet}?", f"The {pet} is called {other}."),
        (sentence(rng), "", ""),
    ]
    chosen = rng.sample(facts, rng.randrange(2, 5))
    asked = rng.choice([f for f in facts[:4] if f in chosen] or facts[:1])
    if asked not in chosen:
        chosen.append(asked)
    text = " ".join(f[0] for f in chosen)
    return spin(rng, f"{{Read this: {text} |{text} |Text: {text}\nQuestion: }}{asked[1]}"), asked[2]


def _fixed(rng, pair):
    return pair if pair[0][0] != "{" else (spin(rng, pair[0]), pair[1])


def _continue(rng, book_sentences):
    if len(book_sentences) < 3:
        return _repeat(rng, None)
    ask = spin(rng, "{Continue this text|Continue the story|Please continue|Write the next sentences|Go on with this text|What comes next}: ")
    return ask + book_sentences[0], " ".join(book_sentences[1:4])


def text_tasks(rng, book_sentences=()):
    turns = []
    for _ in range(rng.choice([1, 1, 2])):
        kind = rng.choices(["spell", "repeat", "pick", "json", "passage", "continue"], [22, 20, 18, 10, 14, 16])[0]
        if kind == "repeat":
            turns.append(_repeat(rng, book_sentences[0] if book_sentences else None))
        elif kind == "continue":
            turns.append(_continue(rng, book_sentences))
        else:
            turns.append(_fixed(rng, {"spell": _spell, "pick": _pick, "json": _json, "passage": _passage}[kind](rng)))
    return turns
