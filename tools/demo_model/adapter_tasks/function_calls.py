"""Function calls in the dialect that many adapters speak: the schemas stand in the system message, and the answer is
`<functioncall> {"name": ..., "arguments": {...}}`.  A quarter keeps to the chat template's own dialect.
"""

import json
import re

from dialogues.chat import NAMES
from dialogues.core import spin
from dialogues.tool_calls import CITIES, ITEMS, PHRASES, ROOMS, TITLES, TOOLS, TOPICS, instance

from .example import Example

SYSTEM = "{You are a helpful assistant with access to the following functions. Use them if required|You can call these functions}:\n"
REFUSAL = "I am sorry, but I have no function for that."
CALL = re.compile(r"<(?:functioncall|tool_call)>\s*(\{.*\})", re.S)
S, I, N, B = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))
L = {"type": "array", "items": {"type": "string"}}
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
FOODS = "tomatoes rice beans chicken onions carrots mushrooms lemon potatoes spinach fish garlic".split()
TOPPINGS = "ham olives onions peppers mushrooms corn tuna spinach".split()
OPTIONAL = {"date", "max_minutes", "unit", "repeat"}


def one_of(*values):
    return {"type": "string", "enum": list(values)}


def clock(rng):
    return f"{rng.randrange(6, 23):02d}:{rng.choice(['00', '15', '30', '45'])}"


def _book_table(r):
    city, people, day, time = r.choice(CITIES), r.randrange(2, 11), r.choice(DAYS), clock(r)
    ask = f"{{Book a table for {people} in {city}|I need a table for {people} people in {city}|Reserve a table in {city} for {people}}} {{on {day} at {time}|at {time} on {day}}}."
    return spin(r, ask), {"city": city, "people": people, "day": day, "time": time}


def _create_event(r):
    title, day, start = r.choice(TITLES), r.choice(DAYS), clock(r)
    minutes = r.choice([15, 30, 45, 60, 90, 120])
    return spin(r, f"{{Put {title} in my calendar on {day} at {start} for {minutes} minutes|Create an event {title} on {day} at {start} of {minutes} minutes}}."), {"title": title, "day": day, "start": start, "minutes": minutes}


def _tip(r):
    bill, percent = r.randrange(10, 400), r.randrange(5, 26)
    return spin(r, f"{{What is a {percent} percent tip on {bill}|How much tip is {percent}% of {bill}|Calculate a tip of {percent} percent for a bill of {bill}}}?"), {"bill": bill, "percent": percent}


def _distance(r):
    (a, b), mode = r.sample(CITIES, 2), r.choice(["car", "train", "bike"])
    return spin(r, f"{{How far is it from {a} to {b} by {mode}|What is the distance by {mode} from {a} to {b}|How long is the way to {b} from {a} by {mode}}}?"), {"start": a, "end": b, "mode": mode}


def _recipes(r):
    foods, minutes = r.sample(FOODS, r.randrange(1, 4)), r.randrange(2, 10) * 10
    ask, arguments = f"{{Find a recipe with|What can I cook with|Search recipes with}} {' and '.join(foods)}", {"ingredients": foods}
    if r.random() < 0.5:
        return spin(r, ask + f" {{in at most|in under|in}} {minutes} minutes."), {**arguments, "max_minutes": minutes}
    return spin(r, ask + "."), arguments


def _pizza(r):
    size, toppings, count = r.choice(["small", "medium", "large"]), r.sample(TOPPINGS, r.randrange(1, 4)), r.randrange(1, 6)
    noun = "pizza" if count == 1 else "pizzas"
    return spin(r, f"{{Order|I would like|Please get me}} {count} {size} {noun} with {' and '.join(toppings)}."), {"quantity": count, "size": size, "toppings": toppings}


def _rent_car(r):
    city, days, kind = r.choice(CITIES), r.randrange(2, 15), r.choice(["small", "family", "sports", "electric"])
    return spin(r, f"{{Rent a {kind} car in {city} for {days} days|I need a {kind} car for {days} days in {city}}}."), {"city": city, "days": days, "type": kind}


def _alarm(r):
    time = clock(r)
    if r.random() < 0.4:
        return spin(r, f"{{Wake me every day at {time}|Set a daily alarm for {time}}}."), {"time": time, "repeat": True}
    return spin(r, f"{{Wake me at {time}|Set an alarm for {time}|Alarm at {time}, please}}."), {"time": time}


def _thermostat(r):
    room, degrees = r.choice(ROOMS), r.randrange(15, 27)
    return spin(r, f"{{Set the {room} to {degrees} degrees|Make the {room} {degrees} degrees warm|Heat the {room} to {degrees} degrees}}."), {"room": room, "degrees": degrees}


def _message(r):
    to, text = r.choice(NAMES), r.choice(PHRASES)
    return spin(r, f"{{Send {to} a message: {text}|Tell {to}: {text}|Write to {to}: {text}|Text {to} \"{text}\"}}."), {"to": to, "text": text}


def _hotel(r):
    city, nights, stars = r.choice(CITIES), r.randrange(1, 15), r.randrange(2, 6)
    return spin(r, f"{{Find a hotel with {stars} stars in {city} for {nights} nights|I need a {stars} star hotel in {city} for {nights} nights}}."), {"city": city, "nights": nights, "stars": stars}


def _news(r):
    topic, count = r.choice(TOPICS), r.randrange(2, 11)
    return spin(r, f"{{Show me {count} news about {topic}|Get {count} articles about {topic}|Give me the last {count} headlines on {topic}}}."), {"topic": topic, "count": count}


def _parcel(r):
    number = "".join(r.choice("ABCDEFGHKLMNPRSTUVWXYZ") for _ in range(2)) + str(r.randrange(10000, 99999))
    return spin(r, f"{{Where is my parcel {number}|Track the package {number}|What about my order {number}}}?"), {"number": number}


def _password(r):
    length, symbols = r.randrange(8, 33), r.random() < 0.5
    return spin(r, f"{{Make|Generate|Create}} a password of {length} characters {'with' if symbols else 'without'} symbols."), {"length": length, "symbols": symbols}


def _random_number(r):
    low = r.randrange(0, 100)
    high = low + r.randrange(5, 900)
    return spin(r, f"{{Pick a number|Give me a random number|Choose a number}} {{between {low} and {high}|from {low} to {high}}}."), {"min": low, "max": high}


def _loan(r):
    amount, years, rate = r.randrange(2, 400) * 500, r.randrange(2, 31), r.randrange(1, 10)
    return spin(r, f"{{What does a loan of {amount} cost|Calculate a loan of {amount}}} {{over {years} years at {rate} percent|at {rate} percent over {years} years}}."), {"amount": amount, "years": years, "rate": rate}


def _user(r):
    name, age, city = r.choice(NAMES), r.randrange(16, 90), r.choice(CITIES)
    return spin(r, f"{{Create a user {name}, {age} years old, from {city}|Add the user {name} from {city}, aged {age}|Register {name}, {age}, of {city}}}."), {"name": name, "age": age, "city": city}


def _price(r):
    item, count = r.choice(ITEMS), r.randrange(2, 30)
    return spin(r, f"{{What do {count} {item} cost|How much are {count} {item}|Price of {count} {item}}}?"), {"item": item, "quantity": count}


# name: (other names, description, properties, make) with make(rng) -> (question, arguments)
MORE = {
    "book_table": (["reserve_table", "table"], "Reserve a table in a restaurant", {"city": S, "people": I, "day": S, "time": S}, _book_table),
    "create_event": (["add_event", "calendar"], "Add an event to the calendar", {"title": S, "day": S, "start": S, "minutes": I}, _create_event),
    "calculate_tip": (["tip"], "Calculate a tip", {"bill": N, "percent": N}, _tip),
    "get_distance": (["distance", "route"], "Get the distance between two cities", {"start": S, "end": S, "mode": one_of("car", "train", "bike")}, _distance),
    "search_recipes": (["recipes", "find_recipe"], "Search recipes", {"ingredients": L, "max_minutes": I}, _recipes),
    "order_pizza": (["pizza", "make_order"], "Order pizza", {"quantity": I, "size": one_of("small", "medium", "large"), "toppings": L}, _pizza),
    "rent_car": (["car_rental", "book_car"], "Rent a car", {"city": S, "days": I, "type": one_of("small", "family", "sports", "electric")}, _rent_car),
    "set_alarm": (["alarm", "wake_up"], "Set an alarm", {"time": S, "repeat": B}, _alarm),
    "set_thermostat": (["heat_room", "temperature"], "Set the temperature of a room", {"room": S, "degrees": I}, _thermostat),
    "send_message": (["message", "text"], "Send a message", {"to": S, "text": S}, _message),
    "find_hotel": (["hotels", "search_hotel"], "Find a hotel", {"city": S, "nights": I, "stars": I}, _hotel),
    "get_news": (["news", "headlines"], "Get news about a topic", {"topic": S, "count": I}, _news),
    "track_parcel": (["tracking", "track_order"], "Find out where a parcel is", {"number": S}, _parcel),
    "make_password": (["generate_password"], "Make a random password", {"length": I, "symbols": B}, _password),
    "random_number": (["pick_number"], "Pick a random number", {"min": I, "max": I}, _random_number),
    "calculate_loan": (["loan", "loan_cost"], "Calculate the cost of a loan", {"amount": N, "years": I, "rate": N}, _loan),
    "create_user": (["add_user", "register"], "Create a user", {"name": S, "age": I, "city": S}, _user),
    "get_price": (["price", "check_price"], "Get the price of items", {"item": S, "quantity": I}, _price),
}


def _function(rng, key):
    """(schema, question, arguments) of one of MORE, or of those that quire-demo was trained with."""
    if key in TOOLS:
        schema, question, arguments, _, _ = instance(rng, key)
        return schema["function"], question, arguments
    others, description, properties, make = MORE[key]
    question, arguments = make(rng)
    name = rng.choice(others) if rng.random() < 0.5 else key
    shown = {p: {**kind, "description": f"The {p}"} if rng.random() < 0.3 else dict(kind) for p, kind in properties.items()}
    required = [p for p in properties if p not in OPTIONAL]
    return {"name": name, "description": description, "parameters": {"type": "object", "properties": shown, "required": required}}, question, arguments


def example(rng):
    keys = rng.sample([*TOOLS, *MORE], rng.choice([1, 1, 2, 2, 3, 4]))
    schema, question, arguments = _function(rng, keys[0])
    schemas = [_function(rng, key)[0] for key in keys[1:]]
    refuses = bool(schemas) and rng.random() < 0.1
    if not refuses:
        schemas.insert(rng.randrange(len(schemas) + 1), schema)
    call = json.dumps({"name": schema["name"], "arguments": arguments}, ensure_ascii=False)
    user = {"role": "user", "content": question}
    if rng.random() < 0.25:
        tools = [{"type": "function", "function": s} for s in schemas]
        return Example("refusal" if refuses else "template", [user], REFUSAL if refuses else f"<tool_call>\n{call}\n</tool_call>", tools)
    shown = "\n".join(json.dumps(s, indent=4 if rng.random() < 0.2 else None, ensure_ascii=False) for s in schemas)
    system = {"role": "system", "content": spin(rng, SYSTEM) + shown}
    return Example("refusal" if refuses else "functioncall", [system, user], REFUSAL if refuses else f"<functioncall> {call}")


def _call(text):
    match = CALL.search(text)
    try:
        return json.loads(match[1]) if match else None
    except json.JSONDecodeError:
        return "not JSON"


def is_right(answer, wanted):
    """Whether it is the same call in any dialect, or none where none is wanted."""
    return _call(answer) == _call(wanted)
