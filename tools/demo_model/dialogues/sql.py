"""SQL from English over random table schemas: names of tables and columns come from the prompt."""

from .core import a_or_an, spin

TEXT = {
    "people": ["name", "city", "country", "email", "job", "first_name", "last_name", "street"],
    "things": ["name", "title", "colour", "category", "status", "brand", "type", "country", "city", "author", "genre", "language"],
}
NUMBER = {
    "people": ["age", "salary", "height", "score", "year_of_birth", "points"],
    "things": ["price", "year", "quantity", "weight", "rating", "pages", "length", "size", "stock", "amount", "speed"],
}
PEOPLE = "users customers employees students teachers patients players members authors drivers guests clients workers artists visitors".split()
THINGS = """books orders products cars movies songs houses flights hotels rooms trees animals dogs cats invoices payments courses
games albums countries cities rivers machines phones computers tickets tasks projects messages reviews parts shops trips events lessons
boats planes trains toys shoes recipes plants paintings stamps meals items files notes jobs articles""".split()
VALUES = {
    "city": "Paris London Berlin Rome Madrid Oslo Vienna Prague Lisbon Boston Dublin".split(),
    "country": "France Spain Italy Germany Japan Norway Canada Brazil India Egypt".split(),
    "colour": "red blue green black white yellow brown".split(),
    "status": "open closed paid new done lost active".split(),
    "category": "food music sport garden kitchen travel history".split(),
    "language": "English French German Spanish Latin".split(),
    "genre": "drama comedy jazz rock crime fantasy".split(),
    "brand": "Acme Nova Orion Delta Zenith".split(),
    "type": "small large public private single double".split(),
    "job": "teacher doctor baker engineer nurse driver".split(),
    "name": "Anna Ben Clara David Emma Max Nina Paul Rosa Tom".split(),
}
for column in ["title", "author", "first_name", "last_name", "email", "street"]:
    VALUES[column] = VALUES["name"]
COMPARE = [(">", "greater than"), (">", "more than"), ("<", "less than"), (">", "above"), ("<", "below"), ("=", "equal to"), (">=", "at least"), ("<=", "at most"), (">", "over"), ("<", "under")]
ASK = "{Write SQL to|Write a SQL query to|Write an SQL query to|Give me SQL to|Write a query to|SQL: |Show me a SQL query to|Please write SQL to|How do I write SQL to|Make a SQL query to|Generate SQL to|Using SQL,} "


def _value(rng, column):
    return rng.choice(VALUES[column])


def condition(rng, text, number):
    """(English with its connecting word, SQL after WHERE)."""
    roll = rng.random()
    if roll < 0.15 and "age" in number:
        years = rng.randrange(5, 90)
        word, op = rng.choice([("older", ">"), ("younger", "<"), ("over", ">"), ("under", "<")])
        than = " than" if word.endswith("er") and word not in ("over", "under") else ""
        return f"{rng.choice(['who are ', '', 'that are '])}{word}{than} {years}", f"age {op} {years}"
    if roll < 0.25 and ("city" in text or "country" in text):
        column = "city" if "city" in text else "country"
        value = _value(rng, column)
        return f"{rng.choice(['from', 'in', 'who live in'])} {value}", f"{column} = '{value}'"
    where = rng.choice(["where the", "where the", "whose", "with a" if roll < 0.5 else "where the"])
    if roll < 0.55:
        column, (op, words), value = rng.choice(number), rng.choice(COMPARE), rng.choice([rng.randrange(1, 100), rng.randrange(1, 30) * 10, rng.randrange(1900, 2025)])
        if where == "with a":
            return f"with {a_or_an(column)} {words} {value}", f"{column} {op} {value}"
        return f"{where} {column} is {words} {value}", f"{column} {op} {value}"
    column = rng.choice(text)
    value = _value(rng, column)
    if roll < 0.92:
        return f"{where.replace('with a', 'where the')} {column} is {value}", f"{column} = '{value}'"
    return spin(rng, f"where the {column} {{starts with|begins with}} {value[0]}"), f"{column} LIKE '{value[0]}%'"


def _task(rng, table, text, number):
    """(what to do in English, the query)."""
    kind = rng.randrange(14)
    column, num = rng.choice(text), rng.choice(number)
    english, where = condition(rng, text, number)
    select = spin(rng, "{select|list|find|get|show|return}")
    if kind == 0:
        return f"{select} all {table}", f"SELECT * FROM {table};"
    if kind in (1, 2):
        return f"{select} all {table} {english}", f"SELECT * FROM {table} WHERE {where};"
    if kind == 3:
        return f"{select} the {column} of all {table}", f"SELECT {column} FROM {table};"
    if kind == 4:
        return f"{select} the {column} of all {table} {english}", f"SELECT {column} FROM {table} WHERE {where};"
    if kind == 5:
        return f"{select} the {column} and {num} of all {table} {english}", f"SELECT {column}, {num} FROM {table} WHERE {where};"
    if kind == 6:
        return spin(rng, f"{{count the {table}|count all {table}|find the number of {table}}}"), f"SELECT COUNT(*) FROM {table};"
    if kind == 7:
        return f"count the {table} {english}", f"SELECT COUNT(*) FROM {table} WHERE {where};"
    if kind == 8:
        words, function = rng.choice([("average", "AVG"), ("highest", "MAX"), ("lowest", "MIN"), ("total", "SUM"), ("largest", "MAX"), ("smallest", "MIN")])
        if rng.random() < 0.5:
            return f"find the {words} {num} of all {table}", f"SELECT {function}({num}) FROM {table};"
        return f"find the {words} {num} of the {table} {english}", f"SELECT {function}({num}) FROM {table} WHERE {where};"
    if kind == 9:
        words, suffix = rng.choice([("", ""), (" in descending order", " DESC"), (" in ascending order", "")])
        return f"{select} all {table} sorted by {num}{words}", f"SELECT * FROM {table} ORDER BY {num}{suffix};"
    if kind == 10:
        count = rng.randrange(2, 21)
        return f"{select} the {count} {table} with the highest {num}", f"SELECT * FROM {table} ORDER BY {num} DESC LIMIT {count};"
    if kind == 11:
        return f"count the {table} for each {column}", f"SELECT {column}, COUNT(*) FROM {table} GROUP BY {column};"
    if kind == 12:
        return f"delete all {table} {english}", f"DELETE FROM {table} WHERE {where};"
    value = rng.randrange(1, 100)
    return f"set the {num} to {value} for all {table} {english}", f"UPDATE {table} SET {num} = {value} WHERE {where};"


def _schema(rng):
    kind = rng.choice(["people", "things"])
    table = rng.choice(PEOPLE if kind == "people" else THINGS)
    text = rng.sample(TEXT[kind], rng.randrange(1, 4))
    number = rng.sample(NUMBER[kind], rng.randrange(1, 3))
    return table, text, number


def _describe(rng, table, text, number):
    columns = ["id"] + text + number if rng.random() < 0.7 else text + number
    roll = rng.random()
    if roll < 0.35:
        typed = ", ".join(f"{c} {'INTEGER' if c == 'id' or c in number else 'TEXT'}" for c in columns)
        return f"CREATE TABLE {table} ({typed});"
    if roll < 0.7:
        return f"{rng.choice(['Table: ', 'Schema: ', 'Table ', ''])}{table}({', '.join(columns)})"
    return f"The table {table} has the columns {', '.join(columns[:-1])} and {columns[-1]}."


def sql(rng):
    """Several questions over one schema (stated first), or one over a table named in the question."""
    table, text, number = _schema(rng)
    turns = []
    stated = rng.random() < 0.75
    for i in range(rng.choice([1, 1, 2, 3]) if stated else 1):
        english, query = _task(rng, table, text, number)
        if not stated:
            english = english.replace(f"all {table}", f"all rows from {table}", 1) if english.endswith(f"all {table}") else english
        question = (spin(rng, ASK) + english).replace(":  ", ": ") + "."
        if stated and i == 0:
            schema = _describe(rng, table, text, number)
            question = f"{schema}\n{question}" if rng.random() < 0.7 else f"{question}\n{schema}"
        prose = rng.random()
        answer = query if prose < 0.7 else f"```sql\n{query}\n```"
        turns.append((question, answer))
    if not stated and rng.random() < 0.25:
        return [_knowledge(rng)]
    return turns


KNOWLEDGE = [
    ("{What is SQL|What does SQL mean|Explain SQL}?", "SQL is a language for asking questions of a database. For example, `SELECT * FROM books;` lists all rows of the table books."),
    ("{What does SELECT do|What is SELECT} in SQL?", "SELECT reads rows from a table. For example: `SELECT name FROM users;`"),
    ("{What does WHERE do|What is WHERE} in SQL?", "WHERE keeps only the rows that meet a condition. For example: `SELECT * FROM users WHERE age > 30;`"),
    ("{What does COUNT do|How do I count rows} in SQL?", "COUNT counts rows. For example: `SELECT COUNT(*) FROM users;`"),
    ("{What does ORDER BY do|How do I sort rows} in SQL?", "ORDER BY sorts the rows. For example: `SELECT * FROM users ORDER BY age DESC;`"),
    ("{What does GROUP BY do|How do I group rows} in SQL?", "GROUP BY puts rows with the same value together. For example: `SELECT city, COUNT(*) FROM users GROUP BY city;`"),
]


def _knowledge(rng):
    question, answer = rng.choice(KNOWLEDGE)
    return spin(rng, question), answer
