"""Cleans public-domain books to plain text and packs the easiest ones into bz2 shards.

Input is a git directory (bare or not) of Markdown books, one file a book.  Books are ranked by how
simple their prose is; the simplest are kept up to a size budget, a few are held out for validation.
"""

import argparse
import bz2
import re
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

VERSE_LINE_SHARE = 0.35  # a book with more short lines than this is verse or a play
REPLACEMENTS = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "…": "...", "\u00a0": " "})


def list_books(git_dir):
    names = subprocess.run(
        ["git", "-C", git_dir, "ls-tree", "-r", "-z", "--name-only", "HEAD"], check=True, capture_output=True
    ).stdout.decode().split("\0")
    return [n for n in names if n.endswith(".md") and "/" in n]


def read_book(git_dir, name):
    done = subprocess.run(["git", "-C", git_dir, "show", f"HEAD:{name}"], capture_output=True)
    return done.stdout.decode("utf-8", errors="ignore") if done.returncode == 0 else ""


def clean(markdown):
    """Markdown -> paragraphs joined by blank lines; headings, emphasis, notes and boilerplate removed."""
    text = markdown.translate(REPLACEMENTS).replace("\r", "")
    text = re.sub(r"\[Illustration[^\]]*\]|\[Footnote[^\]]*\]|\[\^?\d+\]|<[^>]{1,60}>", "", text)
    text = re.sub(r"(?<!\w)[_*]{1,3}|[_*]{1,3}(?!\w)", "", text)
    paragraphs = []
    for block in re.split(r"\n\s*\n", text):
        lines = [re.sub(r"\s+", " ", line).strip() for line in block.split("\n")]
        paragraph = " ".join(line for line in lines if line and not line.startswith(("#", "---", "|", ">")))
        paragraph = paragraph.replace("--", "—").replace("— ", "—").replace(" —", "—")
        if len(paragraph) < 2 or "gutenberg" in paragraph.lower() or "http" in paragraph:
            continue
        letters = sum(c.isalpha() or c == " " for c in paragraph)
        if letters < 0.8 * len(paragraph) or not re.search(r"[a-z]", paragraph):
            continue
        paragraphs.append(paragraph)
    return "\n\n".join(paragraphs)


def is_prose(markdown, text):
    lines = [line for line in markdown.split("\n") if line.strip()]
    short = sum(len(line) < 45 and not line.startswith("#") and line.rstrip()[-1:] not in '."?!' for line in lines)
    return len(text) > 12_000 and short < VERSE_LINE_SHARE * max(1, len(lines))


def difficulty(text):
    """Lower is simpler: mean sentence length in words plus the share of long words."""
    sample = text[len(text) // 10 : len(text) // 10 + 300_000]
    words = re.findall(r"[A-Za-z']+", sample)
    sentences = len(re.findall(r"[.!?][\"')]*\s", sample)) + 1
    long_words = sum(len(w) > 7 for w in words) / max(1, len(words))
    return len(words) / sentences + 120 * long_words


def load(job):
    git_dir, name = job
    markdown = read_book(git_dir, name)
    text = clean(markdown)
    return (difficulty(text), name, text) if is_prose(markdown, text) else None


def pack(job):
    path, texts = job
    path.write_bytes(bz2.compress("\x00".join(texts).encode(), 9))
    return path.stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("git_dir")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--megabytes", type=int, default=185)
    parser.add_argument("--shards", type=int, default=16)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)

    with ProcessPoolExecutor() as pool:
        jobs = [(args.git_dir, name) for name in list_books(args.git_dir)]
        books = sorted(book for book in pool.map(load, jobs, chunksize=8) if book)
        kept, size = [], 0
        for book in books:
            if size + len(book[2]) > args.megabytes * 1_000_000:
                break
            kept.append(book)
            size += len(book[2])
        held_out = kept[25::60]
        kept = [book for i, book in enumerate(kept) if i % 60 != 25]
        jobs = [(args.output / f"books_{i:02d}.bz2", [b[2] for b in kept[i :: args.shards]]) for i in range(args.shards)]
        jobs.append((args.output / "held_out.bz2", [b[2][:60_000] for b in held_out]))
        packed = sum(pool.map(pack, jobs))
    (args.output / "books.txt").write_text("".join(f"{b[0]:.1f}\t{len(b[2])}\t{b[1]}\n" for b in kept))
    print(f"{len(books)} prose books, kept {len(kept)} ({size / 1e6:.0f} MB), packed {packed / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
