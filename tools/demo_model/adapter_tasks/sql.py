"""SQL beyond what quire-demo knows: several conditions, groups, joins and subqueries over two related tables."""

from dataclasses import dataclass

from dialogues.core import join_and, spin
from dialogues.sql import ASK, NUMBER, PEOPLE, TEXT, THINGS, VALUES, condition
from dialogues.sql import sql as plain_sql

from .example import Example

SELECT = "{select|list|find|get|show|return}"
AGGREGATES = [("average", "AVG"), ("highest", "MAX"), ("lowest", "MIN"), ("total", "SUM")]
KINDS = ["simple", "conditions", "groups", "joins", "subqueries"]


def singular(table):
    if table.endswith("ies") and table != "movies":
        return table[:-3] + "y"
    return table[:-1]


@dataclass
class Table:
    name: str
    text: list  # columns
    number: list
    parent: str = ""  # the table that its first key names

    def columns(self):
        key = [f"{singular(self.parent)}_id"] if self.parent else []
        return ["id", *key, *self.text, *self.number]

    def describe(self, style):
        if style == "create":
            kind = lambda c: "TEXT" if c in self.text else "INTEGER"
            return f"CREATE TABLE {self.name} ({', '.join(f'{c} {kind(c)}' for c in self.columns())});"
        return f"{style}{self.name}({', '.join(self.columns())})"


def _tables(rng):
    """A parent with a name, and a child whose rows belong to one of the parent's each."""
    kind = rng.choice(["people", "people", "things"])
    parent = rng.choice(PEOPLE if kind == "people" else THINGS)
    child = rng.choice([thing for thing in THINGS if thing != parent])
    more = [column for column in TEXT[kind] if column not in ("name", "first_name", "last_name")]
    first = Table(parent, ["name", *rng.sample(more, rng.randrange(1, 3))], rng.sample(NUMBER[kind], rng.randrange(1, 3)))
    titles = ["title", "status", "category", "type", "brand", "language", "genre", "colour"]
    second = Table(child, rng.sample(titles, rng.randrange(1, 3)), rng.sample(NUMBER["things"], rng.randrange(1, 3)), parent)
    return first, second


def _conditions(rng, t, other):
    choice = rng.randrange(5)
    column, number = rng.choice(t.text), rng.choice(t.number)
    shown, columns = rng.choice([(f"all {t.name}", "*"), (f"the {column} of all {t.name}", column), (f"the {number} of all {t.name}", number)])
    english, where = condition(rng, t.text, t.number)
    if choice < 2:
        second_english, second_where = english, where
        while second_where.split()[0] == where.split()[0]:
            second_english, second_where = condition(rng, t.text, t.number)
        word = rng.choice(["and", "and", "or"])
        english, where = f"{english} {word} {second_english}", f"{where} {word.upper()} {second_where}"
    elif choice == 2:
        low = rng.randrange(1, 100)
        high = low + rng.randrange(1, 100)
        english, where = f"{rng.choice(['with a', 'whose'])} {number} between {low} and {high}", f"{number} BETWEEN {low} AND {high}"
        english = english.replace(f"whose {number}", f"whose {number} is")
    elif choice == 3:
        values = rng.sample(VALUES[column], rng.randrange(2, 4))
        english = f"whose {column} is {join_and(values).replace(' and ', ' or ')}"
        where = f"{column} IN ({', '.join(repr(v) for v in values)})"
    else:
        english, where = rng.choice([(f"without a {column}", f"{column} IS NULL"), (f"that have a {column}", f"{column} IS NOT NULL")])
    if rng.random() < 0.2:
        return f"count the {t.name} {english}", f"SELECT COUNT(*) FROM {t.name} WHERE {where};"
    order, suffix = "", ""
    if rng.random() < 0.2:
        key, (words, direction) = rng.choice(t.number), rng.choice([("", ""), (" in descending order", " DESC")])
        order, suffix = f", sorted by {key}{words}", f" ORDER BY {key}{direction}"
    return f"{SELECT} {shown} {english}{order}", f"SELECT {columns} FROM {t.name} WHERE {where}{suffix};"


def _groups(rng, t, other):
    column, number, count = rng.choice(t.text), rng.choice(t.number), rng.randrange(2, 21)
    words, function = rng.choice(AGGREGATES)
    group = f"FROM {t.name} GROUP BY {column}"
    return rng.choice([
        (f"{SELECT} the {words} {number} of the {t.name} for each {column}", f"SELECT {column}, {function}({number}) {group};"),
        (f"{SELECT} each {column} with more than {count} {t.name}", f"SELECT {column}, COUNT(*) {group} HAVING COUNT(*) > {count};"),
        (f"{SELECT} each {column} whose {words} {number} is over {count}", f"SELECT {column}, {function}({number}) {group} HAVING {function}({number}) > {count};"),
        (f"{SELECT} the {count} values of {column} with the most {t.name}", f"SELECT {column}, COUNT(*) {group} ORDER BY COUNT(*) DESC LIMIT {count};"),
        (f"{SELECT} the different values of {column} of all {t.name}", f"SELECT DISTINCT {column} FROM {t.name};"),
        (f"count the different values of {column} in {t.name}", f"SELECT COUNT(DISTINCT {column}) FROM {t.name};"),
    ])


def _joins(rng, parent, child):
    one, column, number = singular(parent.name), rng.choice(child.text), rng.choice(child.number)
    english, where = condition(rng, parent.text, parent.number)
    words, function = rng.choice(AGGREGATES)
    joined = f"FROM {child.name} JOIN {parent.name} ON {child.name}.{one}_id = {parent.name}.id"
    where, of_each = f"WHERE {parent.name}.{where}", f"GROUP BY {parent.name}.name"
    count = rng.randrange(2, 21)
    return rng.choice([
        (f"{SELECT} the {column} of all {child.name} with the name of their {one}", f"SELECT {child.name}.{column}, {parent.name}.name {joined};"),
        (f"{SELECT} the {column} of the {child.name} of all {parent.name} {english}", f"SELECT {child.name}.{column} {joined} {where};"),
        (f"{SELECT} all {child.name} of {parent.name} {english}", f"SELECT {child.name}.* {joined} {where};"),
        (f"count the {child.name} of each {one}", f"SELECT {parent.name}.name, COUNT(*) {joined} {of_each};"),
        (f"{SELECT} the {words} {number} of the {child.name} of each {one}", f"SELECT {parent.name}.name, {function}({child.name}.{number}) {joined} {of_each};"),
        (f"{SELECT} the {parent.name} with more than {count} {child.name}", f"SELECT {parent.name}.name, COUNT(*) {joined} {of_each} HAVING COUNT(*) > {count};"),
        (f"{SELECT} the {count} {parent.name} with the most {child.name}", f"SELECT {parent.name}.name, COUNT(*) {joined} {of_each} ORDER BY COUNT(*) DESC LIMIT {count};"),
    ])


def _subqueries(rng, parent, child):
    t, one, number = rng.choice([parent, child]), singular(parent.name), rng.choice(parent.number)
    own = rng.choice(t.number)
    (words, op), (extreme, function) = rng.choice([("above", ">"), ("below", "<")]), rng.choice([("highest", "MAX"), ("lowest", "MIN")])
    english, where = condition(rng, child.text, child.number)
    keys = f"(SELECT {one}_id FROM {child.name}"
    who = "that" if parent.name in THINGS else "who"
    return rng.choice([
        (f"{SELECT} all {t.name} with a {own} {words} the average", f"SELECT * FROM {t.name} WHERE {own} {op} (SELECT AVG({own}) FROM {t.name});"),
        (f"{SELECT} the name of the {one} with the {extreme} {number}", f"SELECT name FROM {parent.name} WHERE {number} = (SELECT {function}({number}) FROM {parent.name});"),
        (f"{SELECT} all {parent.name} without {child.name}", f"SELECT * FROM {parent.name} WHERE id NOT IN {keys});"),
        (f"{SELECT} all {parent.name} {who} have {child.name}", f"SELECT * FROM {parent.name} WHERE id IN {keys});"),
        (f"{SELECT} all {parent.name} with {child.name} {english}", f"SELECT * FROM {parent.name} WHERE id IN {keys} WHERE {where});"),
    ])


def example(rng):
    kind = rng.choices(KINDS, [2, 3, 3, 4, 3])[0]
    if kind == "simple":
        question, answer = plain_sql(rng)[0]
        answer = answer.removeprefix("```sql\n").removesuffix("\n```")
        return Example(kind, [{"role": "user", "content": question}], answer)
    parent, child = _tables(rng)
    tables = [parent, child]
    if kind in ("joins", "subqueries"):
        english, query = (_joins if kind == "joins" else _subqueries)(rng, parent, child)
    else:
        rng.shuffle(tables)
        english, query = (_conditions if kind == "conditions" else _groups)(rng, *tables)
        tables = tables[:1] if rng.random() < 0.5 else rng.sample(tables, 2)
    style = rng.choice(["create", "create", "Table: ", ""])
    schema = "\n".join(table.describe(style) for table in tables)
    question = (spin(rng, ASK) + spin(rng, english)).replace(":  ", ": ") + "."
    return Example(kind, [{"role": "user", "content": f"{schema}\n{question}"}], query)


def is_right(answer, wanted):
    """Whether the queries are the same but for case, spaces and a Markdown fence."""
    normal = lambda text: " ".join(text.replace("```sql", "").replace("```", "").lower().rstrip("; \n").split())
    return normal(answer) == normal(wanted)
