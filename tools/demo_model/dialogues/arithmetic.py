"""Sums, differences, products, quotients, comparisons, sequences and small word problems."""

from .core import join_and, spin

ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen""".split()
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def in_words(n):
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + ("-" + ONES[n % 10] if n % 10 else "")
    rest = f" and {in_words(n % 100)}" if n % 100 else ""
    return f"{ONES[n // 100]} hundred{rest}"


def _number(rng):
    digits = rng.choices([1, 2, 3], [22, 42, 36])[0]
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


ASK = {
    "+": "{What is [a] + [b]|[a] + [b]|[a]+[b]|[a] + [b] =|What is [a] plus [b]|How much is [a] + [b]|Add [a] and [b]|Calculate [a] + [b]|What do [a] and [b] make|Compute [a] plus [b]|What is the sum of [a] and [b]|Can you add [a] and [b]|How much is [a] plus [b]|What's [a] + [b]|Solve [a] + [b]}",
    "-": "{What is [a] - [b]|[a] - [b]|[a]-[b]|[a] - [b] =|What is [a] minus [b]|How much is [a] - [b]|Subtract [b] from [a]|Calculate [a] - [b]|Take [b] from [a]|What's [a] - [b]|What is the difference between [a] and [b]|Compute [a] minus [b]}",
    "*": "{What is [a] * [b]|[a] * [b]|[a] x [b]|What is [a] times [b]|How much is [a] times [b]|Multiply [a] by [b]|Calculate [a] * [b]|What is the product of [a] and [b]|What's [a] x [b]|[a] times [b]}",
    "/": "{What is [a] / [b]|[a] / [b]|What is [a] divided by [b]|Divide [a] by [b]|How much is [a] divided by [b]|Calculate [a] / [b]}",
}
SAY = ["[a] [o] [b] = [c].", "[a] [o] [b] = [c].", "[a] [o] [b] = [c].", "[a] [w] [b] is [c]."]
WORD = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}


def _operands(rng):
    op = rng.choices("+-*/", [44, 34, 15, 7])[0]
    if op in "+-":
        a, b = _number(rng), _number(rng)
        if op == "-" and a < b:
            a, b = b, a
        return op, a, b, a + b if op == "+" else a - b
    if op == "*":
        a, b = (rng.randrange(0, 13), rng.randrange(0, 13)) if rng.random() < 0.6 else (rng.randrange(2, 100), rng.randrange(2, 10))
        return op, a, b, a * b
    b, c = rng.randrange(1, 13), rng.randrange(0, 13)
    return op, b * c, b, c


def _calculation(rng):
    op, a, b, c = _operands(rng)
    mark = rng.choice(["?", "?", ".", ""])
    if rng.random() < 0.12:
        question = spin(rng, f"{{What is [a] {WORD[op]} [b]|How much is [a] {WORD[op]} [b]|[a] {WORD[op]} [b]}}", a=in_words(a), b=in_words(b))
    else:
        question = spin(rng, ASK[op], a=a, b=b)
    if not question.startswith(("What", "How", "Can")):
        mark = mark.replace("?", "")
    if question.endswith("="):
        mark = ""
    return question + mark, spin(rng, rng.choice(SAY), a=a, b=b, c=c, o=op, w=WORD[op])


THINGS = "apples books coins pens eggs stones cards letters cups chairs flowers oranges shells buttons marbles cakes tickets birds".split()
PEOPLE = ["Anna", "Ben", "Tom", "Mary", "Peter", "Lucy", "Sam", "Rosa", "Max", "Ida", "Leo", "Nina", "Paul", "Emma"]


def _word_problem(rng):
    who, other = rng.sample(PEOPLE, 2)
    thing, a, b = rng.choice(THINGS), rng.randrange(2, 60), rng.randrange(2, 60)
    kind = rng.randrange(5)
    if kind == 0:
        question = f"{who} has {a} {thing} and {{buys|finds|gets}} {b} more. How many {thing} does {who} have{{ now|}}?"
        return spin(rng, question), f"{a} + {b} = {a + b}. {who} has {a + b} {thing}."
    if kind == 1:
        a, b = max(a, b) + 1, min(a, b)
        question = f"{who} has {a} {thing} and {{gives {b} to {other}|loses {b} of them|sells {b} of them}}. How many {thing} {{are left|does {who} have left}}?"
        return spin(rng, question), f"{a} - {b} = {a - b}. {who} has {a - b} {thing} left."
    if kind == 2:
        a, b = rng.randrange(2, 11), rng.randrange(2, 11)
        return f"There are {a} boxes with {b} {thing} each. How many {thing} are there?", f"{a} * {b} = {a * b}. There are {a * b} {thing}."
    if kind == 3:
        b, c = rng.randrange(2, 10), rng.randrange(2, 10)
        return f"{b} children share {b * c} {thing}. How many {thing} does each child get?", f"{b * c} / {b} = {c}. Each child gets {c} {thing}."
    return f"{who} has {a} {thing} and {other} has {b}. How many {thing} do they have together?", f"{a} + {b} = {a + b}. Together they have {a + b} {thing}."


def _comparison(rng):
    a, b = _number(rng), _number(rng)
    while a == b:
        b = _number(rng)
    low, high = sorted((a, b))
    kind = rng.randrange(6)
    if kind == 0:
        return spin(rng, f"{{Which is larger|Which number is larger|What is greater|Which is bigger|Which number is bigger}}, {a} or {b}?"), f"{high} is larger than {low}."
    if kind == 1:
        return spin(rng, f"{{Which is smaller|Which number is smaller|What is less}}, {a} or {b}?"), f"{low} is smaller than {high}."
    if kind == 2:
        yes = a > b
        return spin(rng, f"Is {a} {{larger|greater|bigger|more}} than {b}?"), f"{'Yes' if yes else 'No'}, {a} is {'larger' if yes else 'smaller'} than {b}."
    if kind == 3:
        yes = a < b
        return spin(rng, f"Is {a} {{smaller|less}} than {b}?"), f"{'Yes' if yes else 'No'}, {a} is {'smaller' if yes else 'larger'} than {b}."
    if kind == 4:
        word = "even" if a % 2 == 0 else "odd"
        asked = rng.choice(["even", "odd"])
        return spin(rng, f"{{Is {a} {asked}|Is {a} an {asked} number|Is the number {a} {asked}}}?"), f"{'Yes' if word == asked else 'No'}, {a} is {word}."
    numbers = rng.sample(range(100), rng.randrange(3, 6))
    if rng.random() < 0.5:
        which, value = rng.choice([("largest", max(numbers)), ("smallest", min(numbers))])
        return f"What is the {which} of these numbers: {join_and(numbers)}?", f"The {which} number is {value}."
    up = rng.random() < 0.7
    order = "" if up else " from largest to smallest"
    return f"Sort these numbers{order}: {', '.join(map(str, numbers))}.", ", ".join(map(str, sorted(numbers, reverse=not up)))


def _sequence(rng):
    kind = rng.randrange(6)
    if kind == 0:
        start, count = rng.randrange(0, 60), rng.randrange(3, 13)
        numbers = range(start, start + count)
        return spin(rng, f"{{Count from|Please count from}} {start} to {start + count - 1}."), ", ".join(map(str, numbers)) + "."
    if kind == 1:
        n = _number(rng)
        return spin(rng, f"{{What comes after|Which number comes after|What number follows}} {n}?"), f"{n + 1} comes after {n}."
    if kind == 2:
        n = _number(rng) + 1
        return spin(rng, f"{{What comes before|Which number comes before}} {n}?"), f"{n - 1} comes before {n}."
    if kind == 3:
        start, step = rng.randrange(0, 20), rng.randrange(1, 11)
        shown = [start + i * step for i in range(5)]
        return spin(rng, f"{{What comes next|Which number comes next|Continue}}: {', '.join(map(str, shown[:4]))}"), f"The next number is {shown[4]}."
    n = _number(rng)
    if kind == 4:
        return spin(rng, f"{{Write {n} in words|How do you write {n} in words|Spell the number {n}}}."), f"{n} in words is {in_words(n)}."
    return spin(rng, f"{{Write {in_words(n)} in digits|Which number is {in_words(n)}|Write {in_words(n)} as a number}}."), f"{in_words(n).capitalize()} is {n}."


def arithmetic(rng):
    """Mostly one or a few plain calculations; sometimes the other kinds."""
    turns = []
    for _ in range(rng.choice([1, 1, 2, 3, 5])):
        kind = rng.choices([_calculation, _word_problem, _comparison, _sequence], [62, 12, 14, 12])[0]
        turns.append(kind(rng))
    return turns
