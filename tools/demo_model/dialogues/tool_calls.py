"""Function calls in JSON from schemas, answers from tool results, and plain answers when no call is needed.

A turn here is a list of messages, since calls and results are messages of their own.
"""

import json

from .chat import NAMES, small_talk
from .core import spin

CITIES = """Paris London Berlin Rome Madrid Oslo Vienna Prague Lisbon Dublin Athens Tokyo Cairo Lima Boston Munich Lyon Porto Geneva
Zurich Milan Naples Hamburg Warsaw Krakow Budapest Sofia Helsinki Stockholm Bergen Toronto Chicago Seattle Denver Sydney Delhi Seoul
Nairobi Lagos Havana Quito Turin Ghent Leeds Cork Nice""".split()
LANGUAGES = "French German Spanish Italian Dutch Polish Greek Latin Swedish Turkish".split()
CURRENCIES = "USD EUR GBP JPY CHF CAD".split()
ITEMS = "milk bread eggs apples soap coffee tea rice butter paper cheese pens batteries sugar salt".split()
TITLES = "Dentist|Team meeting|Lunch|Doctor|Call with Anna|Football|Concert|Dinner|Piano lesson|Visit to the bank|Haircut".split("|")
PHRASES = "good morning|thank you very much|where is the station|I am hungry|the book is on the table|see you tomorrow|how much is this|I like music|it is cold today|the train is late".split("|")
SONGS = "Moon River|Summer Rain|Blue Sky|Old Friends|The Long Road|Yesterday|Golden Days|Night Train".split("|")
TOPICS = "cats|the weather in spring|bread|old ships|gardens|Roman roads|cheap hotels|good books|trains to Vienna|paged attention|the history of tea|bicycles".split("|")
ROOMS = ["kitchen", "bedroom", "bathroom", "living room", "hall", "office", "garage"]
UNITS = [("kilometres", "miles"), ("metres", "feet"), ("kilograms", "pounds"), ("litres", "gallons"), ("hours", "minutes")]
S, I, N = {"type": "string"}, {"type": "integer"}, {"type": "number"}


def _tools():
    """name: (description, properties, make) with make(rng) -> (question, arguments, result, answer)."""
    def weather(r):
        city, t, sky = r.choice(CITIES), r.randrange(-9, 36), r.choice(["sunny", "cloudy", "rainy", "windy", "foggy", "clear"])
        ask = "{What is the weather in [c]|What's the weather like in [c]|How is the weather in [c]|Tell me the weather in [c]|Is it warm in [c] today|Weather in [c]|Do I need an umbrella in [c]|What is the temperature in [c]|Will it rain in [c]|How warm is it in [c]|Check the weather in [c]}?"
        return spin(r, ask, c=city), {"city": city}, {"temperature": t, "condition": sky}, spin(r, f"{{In {city} it is {sky} with {t} degrees.|It is {sky} in {city}, with {t} degrees.|The weather in {city} is {sky}, and the temperature is {t} degrees.}}")

    def time(r):
        city, clock = r.choice(CITIES), f"{r.randrange(24):02d}:{r.randrange(60):02d}"
        return spin(r, "{What time is it in [c]|What is the time in [c]|Tell me the time in [c]|How late is it in [c]|Current time in [c]}?", c=city), {"city": city}, {"time": clock}, spin(r, f"{{It is {clock} in {city}.|The time in {city} is {clock}.}}")

    def add(r):
        a, b = r.randrange(2, 5000), r.randrange(2, 5000)
        return spin(r, f"{{What is {a} + {b}|Add {a} and {b}|Calculate {a} plus {b}|Compute {a} + {b}}}?"), {"a": a, "b": b}, {"result": a + b}, spin(r, f"{{{a} + {b} = {a + b}.|The result is {a + b}.|The sum is {a + b}.}}")

    def multiply(r):
        a, b = r.randrange(2, 999), r.randrange(2, 999)
        return spin(r, f"{{What is {a} * {b}|Multiply {a} by {b}|Calculate {a} times {b}|What is {a} times {b}}}?"), {"a": a, "b": b}, {"result": a * b}, spin(r, f"{{{a} * {b} = {a * b}.|The result is {a * b}.}}")

    def email(r):
        to, about = r.choice(NAMES), r.choice(TITLES)
        return spin(r, f"{{Send an email to {to} about {about}|Write an email to {to} with the subject {about}|Email {to} about {about}|Please mail {to} about {about}}}."), {"to": to, "subject": about}, {"status": "sent"}, spin(r, f"{{I have sent the email to {to}.|The email to {to} has been sent.|Done. {to} will get your email.}}")

    def reminder(r):
        what, clock = r.choice(TITLES), f"{r.randrange(7, 22):02d}:{r.choice(['00', '15', '30', '45'])}"
        return spin(r, f"{{Remind me of {what} at {clock}|Set a reminder for {what} at {clock}|Please remind me at {clock}: {what}|Make a reminder at {clock} for {what}}}."), {"text": what, "time": clock}, {"status": "ok"}, spin(r, f"{{I will remind you of {what} at {clock}.|The reminder for {clock} is set.}}")

    def timer(r):
        minutes = r.randrange(1, 90)
        return spin(r, f"{{Set a timer for {minutes} minutes|Start a timer of {minutes} minutes|Wake me in {minutes} minutes|Timer for {minutes} minutes, please}}."), {"minutes": minutes}, {"status": "started"}, spin(r, f"{{The timer is set for {minutes} minutes.|I have started a timer of {minutes} minutes.}}")

    def translate(r):
        text, language = r.choice(PHRASES), r.choice(LANGUAGES)
        return spin(r, f"{{Translate \"{text}\" into {language}|How do you say \"{text}\" in {language}|Say \"{text}\" in {language}|Please translate to {language}: {text}}}."), {"text": text, "language": language}, None, None

    def convert(r):
        amount, (a, b) = r.randrange(1, 900), r.sample(CURRENCIES, 2)
        value = round(amount * r.uniform(0.5, 2), 2)
        return spin(r, f"{{Convert {amount} {a} to {b}|How much is {amount} {a} in {b}|Change {amount} {a} into {b}|What are {amount} {a} in {b}}}?"), {"amount": amount, "from": a, "to": b}, {"value": value}, f"{amount} {a} are {value} {b}."

    def stock(r):
        item, n = r.choice(ITEMS), r.randrange(0, 300)
        return spin(r, f"{{How much {item} is in stock|Is there {item} in stock|Check the stock of {item}|Look up the stock of {item}}}?"), {"item": item}, {"quantity": n}, f"There are {n} units of {item} in stock."

    def shopping(r):
        item, n = r.choice(ITEMS), r.randrange(1, 13)
        return spin(r, f"{{Put {n} {item} on my shopping list|Add {n} {item} to the list|I need to buy {n} {item}|Please add {n} {item} to my shopping list}}."), {"item": item, "quantity": n}, {"status": "added"}, spin(r, f"{{I have put {n} {item} on your list.|{n} {item} are now on the list.}}")

    def search(r):
        topic = r.choice(TOPICS)
        return spin(r, f"{{Search the web for {topic}|Look up {topic}|Find something about {topic}|Search for {topic}|Find pages about {topic}}}."), {"query": topic}, {"title": f"All about {topic}", "hits": r.randrange(3, 900)}, None

    def light(r):
        room, on = r.choice(ROOMS), r.random() < 0.5
        word = "on" if on else "off"
        return spin(r, f"{{Turn {word} the light in the {room}|Switch the {room} light {word}|Turn the light in the {room} {word}|Lights {word} in the {room}}}."), {"room": room, "on": on}, {"status": "ok"}, spin(r, f"{{The light in the {room} is {word}.|I have turned {word} the light in the {room}.}}")

    def music(r):
        song = r.choice(SONGS)
        return spin(r, f"{{Play {song}|Play the song {song}|I want to hear {song}|Please play {song}|Put on {song}}}."), {"song": song}, {"status": "playing"}, spin(r, f"{{Now playing {song}.|I am playing {song}.}}")

    def units(r):
        n, (a, b) = r.randrange(1, 500), r.choice(UNITS)
        return spin(r, f"{{Convert {n} {a} to {b}|How many {b} are {n} {a}|What is {n} {a} in {b}}}?"), {"value": n, "from_unit": a, "to_unit": b}, {"result": round(n * r.uniform(0.4, 3), 1)}, None

    def flight(r):
        a, b = r.sample(CITIES, 2)
        day = r.choice("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
        return spin(r, f"{{Find a flight from {a} to {b} on {day}|Book a flight from {a} to {b} for {day}|I want to fly from {a} to {b} on {day}|Are there flights from {a} to {b} on {day}|I need a flight to {b} from {a} on {day}}}."), {"origin": a, "destination": b, "day": day}, {"flight": f"Q{r.randrange(100, 999)}", "price": r.randrange(50, 900)}, None

    return {
        "get_weather": ("Get the current weather of a city", {"city": S}, weather),
        "get_time": ("Get the current time in a city", {"city": S}, time),
        "add": ("Add two numbers", {"a": I, "b": I}, add),
        "multiply": ("Multiply two numbers", {"a": I, "b": I}, multiply),
        "send_email": ("Send an email", {"to": S, "subject": S}, email),
        "set_reminder": ("Set a reminder", {"text": S, "time": S}, reminder),
        "set_timer": ("Start a timer", {"minutes": I}, timer),
        "translate": ("Translate a text", {"text": S, "language": S}, translate),
        "convert_currency": ("Convert an amount of money", {"amount": N, "from": S, "to": S}, convert),
        "get_stock": ("Get the stock of an item", {"item": S}, stock),
        "add_to_list": ("Add an item to the shopping list", {"item": S, "quantity": I}, shopping),
        "search_web": ("Search the web", {"query": S}, search),
        "set_light": ("Turn a light on or off", {"room": S, "on": {"type": "boolean"}}, light),
        "play_music": ("Play a song", {"song": S}, music),
        "convert_units": ("Convert a value between units", {"value": N, "from_unit": S, "to_unit": S}, units),
        "find_flight": ("Find a flight", {"origin": S, "destination": S, "day": S}, flight),
    }


TOOLS = _tools()
RENAMES = {  # other names that a schema may use, so that the call copies the schema and not a memory
    "get_weather": ["weather", "get_current_weather", "current_weather", "weather_report", "lookup_weather", "fetch_weather"],
    "get_time": ["current_time", "time_in_city", "get_current_time", "clock"], "add": ["sum", "add_numbers", "plus", "calculate_sum"],
    "multiply": ["product", "multiply_numbers", "times"], "send_email": ["email", "mail", "send_mail", "write_email"],
    "set_reminder": ["remind", "create_reminder", "add_reminder"], "set_timer": ["timer", "start_timer"], "translate": ["translate_text", "translator"],
    "convert_currency": ["exchange", "currency", "exchange_money"], "get_stock": ["stock", "check_stock", "inventory"],
    "add_to_list": ["shopping_list", "add_item"], "search_web": ["search", "web_search", "find_pages"], "set_light": ["light", "switch_light", "control_light"],
    "play_music": ["play", "play_song"], "convert_units": ["convert", "unit_converter"], "find_flight": ["search_flights", "book_flight", "flights"],
}
ARGUMENT_RENAMES = {"city": ["city", "location", "place", "town"], "query": ["query", "q", "text"], "to": ["to", "recipient"], "item": ["item", "product", "name"],
                    "a": ["a", "x", "first"], "b": ["b", "y", "second"], "minutes": ["minutes", "duration"], "song": ["song", "title", "track"]}
EXTRA = {"unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}}
REFUSE = "{I am sorry, but I have no function for that.|None of my functions can do that, I am sorry.|I have no function that can do that.}"


def instance(rng, key):
    """(schema, question, arguments, result, answer) with names varied consistently."""
    description, properties, make = TOOLS[key]
    question, arguments, result, answer = make(rng)
    vary = lambda name: rng.choice(ARGUMENT_RENAMES.get(name, [name])) if rng.random() < 0.6 else name
    naming = {name: vary(name) for name in properties}
    if len(set(naming.values())) < len(naming):
        naming = {name: name for name in properties}
    name = rng.choice(RENAMES[key]) if rng.random() < 0.6 else key
    shown = {}
    for old, schema in properties.items():
        shown[naming[old]] = {**schema, "description": f"The {old}"} if rng.random() < 0.4 else dict(schema)
    required = list(shown)
    if key == "get_weather" and rng.random() < 0.3:
        shown.update(EXTRA)
    function = {"name": name, "description": description + rng.choice(["", "", "."]), "parameters": {"type": "object", "properties": shown, "required": required}}
    return {"type": "function", "function": function}, question, {naming[k]: v for k, v in arguments.items()}, result, answer


def tool_calls(rng):
    """(messages, tools)"""
    key = rng.choice(list(TOOLS))
    schema, question, arguments, result, answer = instance(rng, key)
    others = [instance(rng, k)[0] for k in rng.sample([k for k in TOOLS if k != key], rng.choice([0, 0, 1, 1, 2, 3]))]
    tools = [schema] + others
    rng.shuffle(tools)
    roll = rng.random()
    if roll < 0.06:
        q, a = small_talk(rng)[0]
        return [{"role": "user", "content": q}, {"role": "assistant", "content": a}], tools
    if roll < 0.10 and others:
        return [{"role": "user", "content": question}, {"role": "assistant", "content": spin(rng, REFUSE)}], others
    call = {"type": "function", "function": {"name": schema["function"]["name"], "arguments": arguments}}
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    if answer and rng.random() < 0.55:
        messages += [{"role": "tool", "content": json.dumps(result)}, {"role": "assistant", "content": answer}]
        if rng.random() < 0.3:
            q, a = small_talk(rng)[0]
            messages += [{"role": "user", "content": q}, {"role": "assistant", "content": a}]
    return messages, tools
