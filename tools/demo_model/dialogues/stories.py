"""Short stories: a hero, a wish, a trouble, a turn and an end, each from many sentences."""

from .chat import any_name
from .core import a_or_an, spin

ANIMALS = """fox bear wolf rabbit mouse cat dog owl crow duck hen frog hedgehog squirrel lion elephant tiger monkey horse donkey
goat sheep pig cow goose swan turtle snail bee ant spider badger deer mole otter beaver whale dolphin seal penguin parrot
dragon unicorn sparrow eagle crab fish butterfly camel kangaroo zebra giraffe hamster pony puppy kitten""".split()
PEOPLE = """girl boy king queen farmer sailor baker tailor teacher shepherd miller fisherman princess prince wizard witch knight
soldier hunter painter gardener clockmaker grandmother robot giant child doctor old.man old.woman thief merchant student""".replace(".", "_").split()
ADJECTIVES = "little young small clever brave lazy proud kind shy hungry old lonely curious poor cheerful quiet".split()
PLACES = "forest|valley|village by the sea|little town|big garden|green meadow|house on a hill|small house|mountain cave|quiet lake|castle|desert|snowy land|cottage by the river|wood near a mill".split("|")
OBJECTS = "key|lamp|ring|map|coin|book|clock|bell|mirror|box|letter|flute|stone|feather|hat|boat|kite|lantern|drum|seed".split("|")
TREASURES = "golden|old|silver|tiny|strange|red|shining|wooden|blue|broken".split("|")
WEATHER = "rain|snow|wind|storm|fog".split("|")
MORALS = {
    "help": ["A kind deed is never lost.", "Those who help others find help when they need it.", "Kindness comes back to those who give it."],
    "work": ["Slow and steady work brings the harvest home.", "He who works in summer eats in winter.", "Little by little, great things are done."],
    "pride": ["Pride goes before a fall.", "It is better to be wise than to be loud.", "Nobody is so clever that he cannot learn."],
    "fear": ["To be brave is to go on although you are afraid.", "Things are often less terrible than they seem.", "Courage grows when you use it."],
    "share": ["Joy that is shared is doubled.", "There is enough for all when all share.", "A good friend is worth more than gold."],
    "lost": ["There is no place like home.", "Home is where somebody waits for you.", "The longest road leads home at last."],
}
OPEN = [
    "{Once upon a time there was|Once there was|Many years ago there was} [who] who lived in a [place]. ",
    "{There once lived|Long ago there lived|In a time long past there lived|Once upon a time there lived} [who] in a [place]. ",
]
CALLED = ["{[He] was called [name].|[His] name was [name].|Everyone called [him] [name].} ", ""]

ARCS = {
    "help": [
        "{One cold morning|One day|One windy evening}, [hero] {heard a cry|heard somebody call for help}. {A [other] had fallen into a deep hole|A [other] was caught in the thorns|A [other] was stuck in the ice of the pond} and could not get out. "
        "{\"Wait, I will help you,\" said [hero].|\"Do not be afraid,\" said [hero].} [He] {pulled with all [his] strength|worked for a long time|ran home for a rope and came back}, until the [other] was free. "
        "{\"Thank you,\" said the [other]. \"I will not forget this.\"|\"How can I ever thank you?\" asked the [other].} "
        "{Some weeks later|In the next winter|Not long after}, [hero] {lost the way in the [weather]|had nothing left to eat|was in great danger}. {Then the [other] came and led [him] safely home.|The [other] heard of it and came at once with food and warm words.} {From that day on they were the best of friends.|They stayed friends all their lives.}",
    ],
    "work": [
        "{All summer long|Day after day}, [hero] {gathered food for the winter|worked in the garden|carried stones to build a little house}. {The lazy [other]|A [other] who loved to sleep} laughed and said, {\"Why do you work so hard? The sun is shining.\"|\"Come and play. There is time enough tomorrow.\"} "
        "But [hero] {went on working|only smiled and went on}. {Then the winter came|Soon the cold days came}, with {snow on every roof|a bitter wind}. [hero2] {sat by the fire and had enough to eat|was warm and safe}. {One night there was a knock at the door.|One evening somebody knocked.} It was the [other], {cold and hungry|wet and shivering}. "
        "{\"Come in,\" said [hero]. \"There is soup for two.\"|[hero2] opened the door and shared the bread.} {In the spring the [other] was the first to start work.|The next summer they worked together.}",
    ],
    "pride": [
        "[hero2] {thought that nobody was as clever as [him]self|was sure that [he] was the best of all|boasted every day of how fast [he] could run}. {One day|One morning}, a [other] said, {\"Let us have a race to the old oak tree.\"|\"Let us see who can reach the hill first.\"} [hero2] laughed {so loudly that the birds flew away|and agreed at once}. "
        "{They started at sunrise.|They set off at noon.} [hero2] was soon far ahead, {so [he] lay down to rest in the grass|so [he] stopped to look at [him]self in the water|so [he] stopped to tell everyone how fast [he] was}. {The sun was warm, and soon [he] was asleep.|Time passed, and [he] did not notice it.} "
        "The [other] {walked on and on without a rest|came slowly but never stopped}. When [hero] {woke up|looked up at last}, the [other] {was already there|had already won}. {[hero2] was ashamed and never boasted again.|\"You have taught me something,\" said [hero] quietly.}",
    ],
    "fear": [
        "{Every night|Each evening}, [hero] {heard a strange noise|saw a strange light} {behind the house|at the edge of the trees|under the old bridge}. {Nobody dared to go and look.|Everyone was afraid of it.} {\"It must be a monster,\" said the [other].|\"Stay at home,\" said the [other]. \"It is not safe.\"} "
        "But [hero] {could not sleep|wanted to know what it was}. {So one night [he] took a lantern and went out alone.|At last [he] took a deep breath and went to see.} [His] {heart beat fast|knees shook}, but [he] did not turn back. "
        "{And what did [he] find? Only a small [third] that was lost and afraid of the dark.|There sat a little [third], crying because it had lost its mother.} [hero2] {took it gently by the hand and brought it home|gave it something to eat and showed it the way home}. {After that nobody in the [place] was afraid of the dark.|The next day everyone praised [him].}",
    ],
    "share": [
        "One day, [hero] found a [treasure] [object] {under a tree|on the road|in the attic|by the water}. {It was the most beautiful thing [he] had ever seen.|[He] had never seen anything like it.} {\"It is mine, and I will show it to nobody,\" [he] thought.|[He] hid it under [his] bed and told nobody.} "
        "But {soon [he] felt lonely|it gave [him] no joy}. {A [other] came by and looked sad.|Then [he] met a [other] who was sitting alone.} {\"What is the matter?\" asked [hero].|\"Why are you so sad?\" asked [hero].} \"I have {nobody to play with|no friends here},\" said the [other]. "
        "Then [hero] {fetched|brought out} the [object], and {they looked at it together until the sun went down|they laughed and played all afternoon}. {[hero2] had never been so happy.|It had never shone so brightly.}",
    ],
    "lost": [
        "{One autumn day|One bright morning}, [hero] {went out to see the world|followed a butterfly far into the woods|walked farther than ever before}. {At first everything was new and wonderful.|The birds sang, and the path was wide.} But then {the [weather] came|it grew dark}, and [he] {could not find the way back|did not know where [he] was}. "
        "{[He] sat down under a tree and cried.|[He] called, but nobody answered.} {An old [other] came along the path.|At last a [other] heard [him].} {\"Follow the river,\" it said, \"and it will lead you home.\"|\"Look for the brightest star,\" it said, \"and walk towards it.\"} "
        "{All night long [he] walked|[He] walked for many hours}, {past the mill and over the bridge|through the wet grass and over the hills}. {When the sun came up|In the first light of the morning}, [he] saw {the smoke of [his] own chimney|the light in [his] own window}. {[His] mother ran out to meet [him].|Everyone was glad to see [him] again.}",
    ],
}
END = "{|||And they lived happily ever after.|That is the end of the story.|The end.}"
ASK_ANY = ["{Tell me a short story|Tell me a story|Write a short story|Write a story|Can you tell me a story|I would like to hear a story|Please tell me a short story|A story, please|Tell a story|Give me a short story|Tell me a bedtime story|Tell me another story}"]
ASK_ABOUT = ["{Tell me a short story|Tell me a story|Write a short story|Write a story|Can you tell a story|Please tell me a short story|I want a story|Tell a tale} about [x]"]


def stories(rng):
    is_animal = rng.random() < 0.6
    hero = rng.choice(ANIMALS if is_animal else PEOPLE).replace("_", " ")
    adjective = rng.choice(ADJECTIVES) if rng.random() < 0.8 and not hero.startswith("old") else ""
    who = a_or_an(f"{adjective} {hero}".strip())
    name = any_name(rng)
    female = hero in {"girl", "queen", "princess", "witch", "grandmother", "old woman", "hen", "cow", "goose"} or (is_animal and rng.random() < 0.4)
    male = hero in {"boy", "king", "prince", "wizard", "knight", "old man"}
    he, him, his = ("she", "her", "her") if female and not male else ("he", "him", "his")
    other, third = rng.sample([a for a in ANIMALS if a != hero], 2)
    moral = rng.choice(list(ARCS))
    named = spin(rng, rng.choice(CALLED), name=name, he=he, He=he.capitalize(), him=him, His=his.capitalize())
    slots = {
        "who": who, "place": rng.choice(PLACES), "other": other, "third": third, "weather": rng.choice(WEATHER),
        "object": rng.choice(OBJECTS), "treasure": rng.choice(TREASURES), "he": he, "He": he.capitalize(),
        "him": him, "his": his, "His": his.capitalize(),
        "hero": name if named else f"the {hero}", "hero2": name if named else f"The {hero}",
    }
    text = spin(rng, rng.choice(OPEN), **slots) + named + spin(rng, rng.choice(ARCS[moral]), **slots)
    for wrong, right in [("A owl", "An owl"), ("a owl", "an owl"), ("a otter", "an otter"), ("A otter", "An otter"), ("A ant", "An ant"), ("a ant", "an ant"),
                         ("a eagle", "an eagle"), ("A eagle", "An eagle"), ("A elephant", "An elephant"), ("a elephant", "an elephant"), ("a old", "an old")]:
        text = text.replace(wrong + " ", right + " ")
    ending = rng.choice(MORALS[moral]) if rng.random() < 0.5 else spin(rng, END)
    subject = rng.choice([who, a_or_an(hero), a_or_an(hero), f"{who} and {a_or_an(other)}", f"{who} called {name}" if named else who])
    question = spin(rng, ASK_ANY[0]) if rng.random() < 0.3 else spin(rng, ASK_ABOUT[0], x=subject)
    mark = "?" if question.startswith("Can") else rng.choice([".", ".", "", "!"])
    text = " ".join(text.split())
    if rng.random() < 0.6:
        text = _paragraphs(text)
    return [(question + mark, f"{text} {ending}".strip())]


def _paragraphs(text):
    """Two paragraphs, cut after the sentence nearest the middle."""
    middle = text.find(". ", len(text) // 3)
    return text if middle < 0 else text[: middle + 1] + "\n\n" + text[middle + 2 :]
