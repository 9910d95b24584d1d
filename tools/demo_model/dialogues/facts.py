"""Simple facts that the model is meant to know by heart: capitals, calendar, opposites, animals, units."""

import re

from .core import join_and, spin

CAPITALS = dict(pair.split(":") for pair in """France:Paris|Germany:Berlin|Italy:Rome|Spain:Madrid|Portugal:Lisbon|Austria:Vienna|Switzerland:Bern
Belgium:Brussels|the Netherlands:Amsterdam|Denmark:Copenhagen|Norway:Oslo|Sweden:Stockholm|Finland:Helsinki|Poland:Warsaw|Hungary:Budapest
Greece:Athens|Ireland:Dublin|the United Kingdom:London|England:London|Scotland:Edinburgh|Wales:Cardiff|Iceland:Reykjavik|Russia:Moscow|Ukraine:Kyiv
Turkey:Ankara|Egypt:Cairo|Morocco:Rabat|Kenya:Nairobi|Nigeria:Abuja|Ethiopia:Addis Ababa|Ghana:Accra|Japan:Tokyo|China:Beijing|India:New Delhi
South Korea:Seoul|Thailand:Bangkok|Vietnam:Hanoi|Indonesia:Jakarta|Malaysia:Kuala Lumpur|the Philippines:Manila|Pakistan:Islamabad|Iran:Tehran
Iraq:Baghdad|Saudi Arabia:Riyadh|Australia:Canberra|New Zealand:Wellington|Canada:Ottawa|Mexico:Mexico City|Brazil:Brasilia|Argentina:Buenos Aires
Chile:Santiago|Peru:Lima|Colombia:Bogota|Cuba:Havana|the United States:Washington, D.C.|Romania:Bucharest|Bulgaria:Sofia|Serbia:Belgrade|Croatia:Zagreb
Czechia:Prague|Slovakia:Bratislava|Slovenia:Ljubljana|Estonia:Tallinn|Latvia:Riga|Lithuania:Vilnius|Nepal:Kathmandu|Tunisia:Tunis|Algeria:Algiers
Venezuela:Caracas|Uruguay:Montevideo|Bolivia:Sucre|Ecuador:Quito|Jamaica:Kingston|Luxembourg:Luxembourg|Malta:Valletta|Cyprus:Nicosia
Senegal:Dakar|Uganda:Kampala|Singapore:Singapore|Mongolia:Ulaanbaatar|Georgia:Tbilisi|Armenia:Yerevan|Israel:Jerusalem|Jordan:Amman""".replace("\n", "|").split("|"))
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
SEASONS = "winter winter spring spring spring summer summer summer autumn autumn autumn winter".split()
OPPOSITES = [p.split(":") for p in """hot:cold|big:small|tall:short|fast:slow|good:bad|happy:sad|old:young|new:old|light:dark|day:night|open:closed|up:down
left:right|early:late|rich:poor|strong:weak|hard:soft|wet:dry|full:empty|clean:dirty|near:far|high:low|loud:quiet|thick:thin|wide:narrow|heavy:light
first:last|before:after|begin:end|buy:sell|win:lose|love:hate|friend:enemy|true:false|sweet:sour|brave:afraid|easy:difficult|cheap:expensive|deep:shallow
black:white|summer:winter|north:south|east:west|inside:outside|always:never|push:pull|give:take|question:answer|peace:war|safe:dangerous""".replace("\n", "|").split("|")]
PLURALS = [p.split(":") for p in "child:children|mouse:mice|foot:feet|tooth:teeth|man:men|woman:women|goose:geese|sheep:sheep|book:books|city:cities|baby:babies|leaf:leaves|knife:knives|box:boxes|bus:buses|wolf:wolves|cat:cats|story:stories|fish:fish|ox:oxen|church:churches|house:houses|wife:wives|potato:potatoes".split("|")]
PASTS = [p.split(":") for p in "go:went|see:saw|eat:ate|run:ran|write:wrote|take:took|give:gave|come:came|make:made|find:found|think:thought|buy:bought|bring:brought|sing:sang|swim:swam|speak:spoke|break:broke|know:knew|fly:flew|walk:walked|play:played|stop:stopped|read:read|sleep:slept|teach:taught|begin:began|tell:told|sell:sold".split("|")]
SOUNDS = [p.split(":") for p in "dog:barks|cat:meows|cow:moos|horse:neighs|sheep:bleats|duck:quacks|lion:roars|bee:buzzes|snake:hisses|owl:hoots|pig:grunts|wolf:howls|bird:sings|mouse:squeaks".split("|")]
YOUNG = [p.split(":") for p in "dog:puppy|cat:kitten|cow:calf|horse:foal|sheep:lamb|duck:duckling|lion:cub|bear:cub|hen:chick|goat:kid|pig:piglet|frog:tadpole|deer:fawn|swan:cygnet".split("|")]
LEGS = {"dog": 4, "cat": 4, "bird": 2, "spider": 8, "horse": 4, "ant": 6, "bee": 6, "cow": 4, "snake": "no", "fish": "no", "hen": 2, "table": 4, "person": 2, "beetle": 6}
SKY = """{What colour is the sky|What is the colour of the sky}?:On a clear day the sky is blue.|{What colour is grass|What is the colour of grass}?:Grass is green.
{What colour is snow|What is the colour of snow}?:Snow is white.|What colour is blood?:Blood is red.|What colour is a banana?:A ripe banana is yellow.|What colour is a tomato?:A ripe tomato is red.
{How many days are in a week|How many days does a week have}?:A week has 7 days.|{How many months are in a year|How many months does a year have}?:A year has 12 months.
{How many hours are in a day|How many hours does a day have}?:A day has 24 hours.|{How many minutes are in an hour|How many minutes does an hour have}?:An hour has 60 minutes.
{How many seconds are in a minute|How many seconds does a minute have}?:A minute has 60 seconds.|{How many days are in a year|How many days does a year have}?:A year has 365 days, and a leap year has 366.
{How many weeks are in a year|How many weeks does a year have}?:A year has 52 weeks.|{How many letters are in the alphabet|How many letters does the English alphabet have}?:The English alphabet has 26 letters.
How many metres are in a kilometre?:A kilometre has 1000 metres.|How many centimetres are in a metre?:A metre has 100 centimetres.|How many grams are in a kilogram?:A kilogram has 1000 grams.
{Does the sun rise in the east|Where does the sun rise}?:The sun rises in the east.|Where does the sun set?:The sun sets in the west.|What is frozen water called?:Frozen water is called ice.
What do bees make?:Bees make honey.|What do cows give us?:Cows give us milk.|What do we breathe?:We breathe air.|What is the largest ocean?:The Pacific Ocean is the largest ocean.
{Which planet do we live on|What planet do we live on}?:We live on the planet Earth.|{What goes around the Earth|What is the Earth's satellite called}?:The Moon goes around the Earth.|What is the nearest star?:The nearest star is the Sun.
{At what temperature does water boil|When does water boil}?:Water boils at 100 degrees Celsius.|{At what temperature does water freeze|When does water freeze}?:Water freezes at 0 degrees Celsius.
{Who wrote Hamlet|Who wrote Romeo and Juliet|Who wrote Macbeth}?:William Shakespeare wrote it.|Who wrote Oliver Twist?:Charles Dickens wrote Oliver Twist.|Who wrote Pride and Prejudice?:Jane Austen wrote Pride and Prejudice.
{Who wrote Alice in Wonderland|Who wrote Alice's Adventures in Wonderland}?:Lewis Carroll wrote it.|Who wrote Dracula?:Bram Stoker wrote Dracula.|Who wrote Frankenstein?:Mary Shelley wrote Frankenstein.|Who wrote Moby-Dick?:Herman Melville wrote Moby-Dick.
Who wrote Treasure Island?:Robert Louis Stevenson wrote Treasure Island.|Who was Sherlock Holmes?:Sherlock Holmes is a detective in the stories of Arthur Conan Doyle.|Who wrote The Time Machine?:H. G. Wells wrote The Time Machine.|Who wrote War and Peace?:Leo Tolstoy wrote War and Peace."""
PLAIN = [entry.split("?:") for line in SKY.split("\n") for entry in re.split(r"(?<=\.)\|", line)]
KINDS = {
    "fruits": "apple banana pear orange cherry plum grape lemon peach strawberry mango fig".split(),
    "animals": "dog cat horse cow lion bear fox wolf rabbit mouse sheep elephant tiger deer".split(),
    "colours": "red blue green yellow black white brown purple orange grey pink".split(),
    "vegetables": "carrot potato onion cabbage pea bean tomato leek pumpkin spinach".split(),
    "birds": "owl eagle robin swan duck crow sparrow parrot pigeon goose".split(),
    "trees": "oak pine birch maple willow elm fir beech ash cedar".split(),
    "flowers": "rose tulip lily daisy violet poppy sunflower orchid".split(),
    "European countries": "France Germany Italy Spain Portugal Poland Norway Sweden Greece Austria Ireland Hungary".split(),
    "cities": "Paris London Rome Berlin Madrid Tokyo Cairo Vienna Oslo Lima Athens Prague".split(),
    "planets": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split(),
    "musical instruments": "piano violin guitar flute drum trumpet harp cello organ".split(),
    "kinds of furniture": "table chair bed sofa desk shelf wardrobe bench".split(),
    "drinks": "water tea coffee milk juice lemonade cocoa wine".split(),
    "tools": "hammer saw axe spade knife drill rake pliers".split(),
    "clothes": "shirt coat hat shoe scarf glove sock dress jacket".split(),
    "parts of the body": "head arm leg hand foot nose ear eye mouth knee".split(),
    "jobs": "teacher doctor baker farmer nurse sailor engineer lawyer cook painter".split(),
}
CATEGORY = {"fruits": "fruit", "animals": "animal", "vegetables": "vegetable", "birds": "bird", "trees": "tree", "flowers": "flower", "colours": "colour"}
SMALL = ["one", "two", "three", "four", "five", "six", "seven", "eight"]


def _capital(rng):
    country, city = rng.choice(list(CAPITALS.items()))
    if rng.random() < 0.75:
        ask = "{What is the capital of [x]|What's the capital of [x]|Which city is the capital of [x]|Name the capital of [x]|Tell me the capital of [x]|What is the capital city of [x]|Capital of [x]|Do you know the capital of [x]}?"
        return spin(rng, ask, x=country), f"The capital of {country} is {city.rstrip('.')}."
    if rng.random() < 0.6:
        answer = f"{city} is the capital of {country}."
        return spin(rng, "{Which country has the capital [x]|Where is [x]|In which country is [x]|Of which country is [x] the capital}?", x=city), answer
    wrong = rng.choice(list(CAPITALS.values()))
    yes = wrong == city
    return f"Is {wrong} the capital of {country}?", ("Yes" if yes else "No") + f", the capital of {country} is {city.rstrip('.')}."


def _calendar(rng):
    i, names, kind = rng.choice([(rng.randrange(7), DAYS, "day"), (rng.randrange(12), MONTHS, "month")])
    after, before = names[(i + 1) % len(names)], names[i - 1]
    choice = rng.randrange(6)
    if choice == 0:
        return spin(rng, f"{{What {kind} comes after|Which {kind} comes after|Which {kind} follows}} {names[i]}?"), f"{after} comes after {names[i]}."
    if choice == 1:
        return spin(rng, f"{{What {kind} comes before|Which {kind} comes before}} {names[i]}?"), f"{before} comes before {names[i]}."
    if choice == 2:
        whole = "week" if kind == "day" else "year"
        return spin(rng, f"{{Name the {kind}s of the {whole}|What are the {kind}s of the {whole}|List the {kind}s of the {whole}|Say the {kind}s of the {whole}}}?"), f"The {kind}s of the {whole} are {join_and(names)}."
    i = rng.randrange(12)
    if choice == 3:
        return spin(rng, f"{{How many days does {MONTHS[i]} have|How many days are in {MONTHS[i]}}}?"), f"{MONTHS[i]} has {MONTH_DAYS[i]} days{', and 29 in a leap year' if i == 1 else ''}."
    if choice == 4:
        return spin(rng, f"{{In which season is {MONTHS[i]}|Which season is {MONTHS[i]} in}}?"), f"In the north, {MONTHS[i]} is in {SEASONS[i]}."
    i = rng.randrange(7)
    return f"If today is {DAYS[i]}, what day is tomorrow?", f"If today is {DAYS[i]}, tomorrow is {DAYS[(i + 1) % 7]}."


def _words(rng):
    choice = rng.randrange(6)
    if choice == 0:
        a, b = rng.choice(OPPOSITES)
        if rng.random() < 0.5 and b not in ("old", "light"):
            a, b = b, a
        return spin(rng, f"{{What is the opposite of {a}|Give me the opposite of {a}|What is the opposite of \"{a}\"}}?"), f"The opposite of {a} is {b}."
    if choice == 1:
        a, b = rng.choice(PLURALS)
        return spin(rng, f"{{What is the plural of {a}|Give me the plural of {a}}}?"), f"The plural of {a} is {b}."
    if choice == 2:
        a, b = rng.choice(PASTS)
        return spin(rng, f"{{What is the past tense of {a}|What is the past of \"{a}\"}}?"), f"The past tense of {a} is {b}."
    if choice == 3:
        a, b = rng.choice(SOUNDS)
        return spin(rng, f"{{What sound does a {a} make|What does a {a} do|Which sound does a {a} make}}?").replace(" a owl", " an owl"), f"{'An' if a == 'owl' else 'A'} {a} {b}."
    if choice == 4:
        a, b = rng.choice(YOUNG)
        return spin(rng, f"{{What is a young {a} called|What do you call a young {a}|What is a baby {a} called}}?"), f"A young {a} is called a {b}."
    a, b = rng.choice(list(LEGS.items()))
    article = "an" if a == "ant" else "a"
    return f"How many legs does {article} {a} have?", f"{article.capitalize()} {a} has {b} legs."


def _list(rng):
    kind, items = rng.choice(list(KINDS.items()))
    count = rng.randrange(2, 8)
    word = SMALL[count - 1] if rng.random() < 0.6 else str(count)
    chosen = rng.sample(items, count)
    question = spin(rng, f"{{Name {word} {kind}|List {word} {kind}|Give me {word} {kind}|Tell me {word} {kind}|Write a list of {word} {kind}|Can you name {word} {kind}}}.")
    style = rng.random()
    if "list" in question.lower() or style < 0.3:
        return question, "\n".join(f"{i}. {item[:1].upper() + item[1:]}" for i, item in enumerate(chosen, 1))
    return question, (join_and(chosen)[:1].upper() + join_and(chosen)[1:]) + "."


def _category(rng):
    kind = rng.choice(list(CATEGORY))
    other = kind if rng.random() < 0.5 else rng.choice(list(CATEGORY))
    item = rng.choice(KINDS[kind])
    article, kind_article = ("an" if item[0] in "aeiou" else "a"), ("an" if CATEGORY[other][0] in "aeiou" else "a")
    if "colours" in (kind, other) or item == "orange" or {kind, other} == {"animals", "birds"}:
        return _list(rng)
    if rng.random() < 0.4:
        own = CATEGORY[kind]
        return f"What is {article} {item}?", f"{article.capitalize()} {item} is {'an' if own[0] in 'aeiou' else 'a'} {own}."
    real = CATEGORY[kind]
    if kind == other:
        return f"Is {article} {item} {kind_article} {real}?", f"Yes, {article} {item} is {kind_article} {real}."
    return f"Is {article} {item} {kind_article} {CATEGORY[other]}?", f"No, {article} {item} is {'an' if real[0] in 'aeiou' else 'a'} {real}."


def _plain(rng):
    question, answer = rng.choice(PLAIN)
    return spin(rng, question) + "?", answer


def facts(rng):
    kinds = [_capital, _calendar, _words, _list, _category, _plain]
    return [rng.choices(kinds, [30, 18, 18, 16, 8, 10])[0](rng) for _ in range(rng.choice([1, 1, 2, 3]))]
