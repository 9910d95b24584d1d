"""Trains the byte-level BPE tokenizer on books and dialogues and writes tokenizer.json and its config."""

import argparse
import bz2
import json
import re
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import make_dialogues

SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPECIAL = re.compile(r"<\|[a-z_]+\|>")
# Qwen2's splitting: words with their leading space, single digits, runs of punctuation, line breaks.
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def texts(books, num_dialogues):
    for shard in sorted(books.glob("books_*.bz2")):
        for book in bz2.decompress(shard.read_bytes()).decode().split("\x00")[:8]:
            for start in range(0, min(len(book), 200_000), 10_000):
                yield book[start : start + 10_000]
    for index in range(num_dialogues):
        dialogue = make_dialogues.make("tokenizer", index)
        yield SPECIAL.sub("", "".join(text for text, _ in make_dialogues.render(dialogue)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("books", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--vocab-size", type=int, default=6144)
    args = parser.parse_args()

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=args.vocab_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(args.books, 30_000), trainer)
    args.output.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(args.output / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "model_max_length": 2048,
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): {
                "content": token, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True,
            }
            for token in SPECIAL_TOKENS
        },
        "chat_template": (Path(__file__).parent / "chat_template.jinja").read_text(),
    }
    (args.output / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    print("vocabulary", tokenizer.get_vocab_size())


if __name__ == "__main__":
    main()
