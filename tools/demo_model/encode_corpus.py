"""Turns books and dialogues into packed rows of token ids for train.py, using all cores.

Each output .npz holds tokens [rows, 2048] uint16, documents [rows, 2048] uint16 (attention stays
within one document) and answers [rows, 2048] bool (tokens that an assistant wrote; all of a book).
"""

import argparse
import bz2
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

import make_dialogues

ROW = 2048
END_OF_TEXT = 0
DIALOGUES_PER_JOB = 5000


def book_rows(job):
    """Books in rows of 2048; three rows in four are two documents of 1024."""
    tokenizer_path, shard = job
    tokenizer = Tokenizer.from_file(tokenizer_path)
    books = bz2.decompress(Path(shard).read_bytes()).decode().split("\x00")
    tokens, documents = [], []
    for number, book in enumerate(books):
        ids = []
        for start in range(0, len(book), 50_000):
            ids += tokenizer.encode(book[start : start + 50_000], add_special_tokens=False).ids
        tokens += ids + [END_OF_TEXT]
        documents += [number] * (len(ids) + 1)
    rows = len(tokens) // ROW
    tokens = np.array(tokens[: rows * ROW], dtype=np.uint16).reshape(rows, ROW)
    documents = np.array(documents[: rows * ROW], dtype=np.uint16).reshape(rows, ROW) * 2
    halved = np.arange(rows) % 4 != 0
    documents[halved, ROW // 2 :] += 1
    return tokens, documents, np.ones_like(tokens, dtype=bool)


def book_sentences(shard):
    """Runs of three sentences that dialogues quote."""
    found = []
    for book in bz2.decompress(Path(shard).read_bytes()).decode().split("\x00"):
        for paragraph in book.split("\n\n")[20:400:7]:
            sentences = [s.strip() + "." for s in paragraph.split(". ") if 20 < len(s) < 160]
            if len(sentences) >= 4 and paragraph.isascii():
                found.append(sentences[:4])
    return found


def dialogue_rows(job):
    """Dialogues packed whole, first-fit in order; the rest of a row is padding without loss."""
    tokenizer_path, shard, seed, first, count = job
    tokenizer = Tokenizer.from_file(tokenizer_path)
    quotes = book_sentences(shard)
    rows, current = [], ([], [], [])
    for index in range(first, first + count):
        quote = quotes[index * 7919 % len(quotes)] if quotes else ()
        parts = make_dialogues.render(make_dialogues.make(seed, index, quote))
        ids, answers = [], []
        for text, is_answer in parts:
            piece = tokenizer.encode(text, add_special_tokens=False).ids
            ids += piece
            answers += [is_answer] * len(piece)
        if len(ids) > ROW:
            continue
        if len(current[0]) + len(ids) > ROW:
            rows.append(_padded(*current))
            current = ([], [], [])
        current[1].extend([current[1][-1] + 1 if current[1] else 0] * len(ids))
        current[0].extend(ids)
        current[2].extend(answers)
    rows.append(_padded(*current))
    return tuple(np.stack(column) for column in zip(*rows))


def _padded(ids, documents, answers):
    """Padding positions are documents of their own, so that nothing is predicted from them."""
    missing = ROW - len(ids)
    last = documents[-1] + 1 if documents else 0
    return (
        np.array(ids + [END_OF_TEXT] * missing, dtype=np.uint16),
        np.array(documents + [last + i for i in range(missing)], dtype=np.uint16),
        np.array(answers + [False] * missing, dtype=bool),
    )


def save(path, parts):
    tokens, documents, answers = (np.concatenate(column) for column in zip(*parts))
    np.savez(path, tokens=tokens, documents=documents, answers=answers)
    print(f"{path.name}: {tokens.shape[0]} rows, {tokens.size / 1e6:.1f} M tokens, answers {answers.mean():.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("books", type=Path)
    parser.add_argument("tokenizer")
    parser.add_argument("output", type=Path)
    parser.add_argument("--dialogues", type=int, default=700_000)
    parser.add_argument("--seed", default="train")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    shards = sorted(str(p) for p in args.books.glob("books_*.bz2"))
    held_out = str(args.books / "held_out.bz2")
    jobs = [
        (args.tokenizer, shards[first // DIALOGUES_PER_JOB % len(shards)], args.seed, first, min(DIALOGUES_PER_JOB, args.dialogues - first))
        for first in range(0, args.dialogues, DIALOGUES_PER_JOB)
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        books = pool.map(book_rows, [(args.tokenizer, shard) for shard in shards])
        dialogues = pool.map(dialogue_rows, jobs)
        validation = pool.map(dialogue_rows, [(args.tokenizer, held_out, "validation", 0, 2000)])
        save(args.output / "books.npz", list(books))
        save(args.output / "dialogues.npz", list(dialogues))
        save(args.output / "books_validation.npz", [book_rows((args.tokenizer, held_out))])
        save(args.output / "dialogues_validation.npz", list(validation))


if __name__ == "__main__":
    main()
