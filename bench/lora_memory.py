#!/usr/bin/env python3
"""Draws what N adapters of one base take, in one process and in N, from a report of `quire bench lora`:

    quire bench lora MODEL --cells memory --output-json REPORT.json
    bench/lora_memory.py REPORT.json --svg docs/adapter-memory.svg
    bench/lora_memory.py bench/results/lora.jsonl --svg docs/adapter-memory.svg   # the last such line

Prints the table as Markdown, and what larger numbers of adapters would take by the bytes measured.
"""
import argparse
import json
import pathlib
import sys
from xml.sax.saxutils import escape

MIB = 1 << 20
GIB = 1 << 30
# Of the computed table.
SCALES = (3, 10, 100, 1000)
KV_TOKENS = (0, 16384, 65536)
# Owner in the report, name in the plot, colour.
OWNERS = (
    ("weights", "weights of the base", "#4472a8"),
    ("rest", "workspace and process", "#8c8c8c"),
    ("adapters", "adapters", "#d9534f"),
    ("kv", "KV cache that holds tokens", "#5aa469"),
    ("empty_arena", "KV cache set aside, empty", "#dfe9df"),
)
WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 900, 250, 140, 18, 6, 86


def memory_rows(report):
    return [row for row in report["rows"] if row["cell"] == "memory" and "arrangement" in row]


def read_report(path):
    """A report with memory rows: the file, or the last such line of a .jsonl."""
    text = pathlib.Path(path).read_text()
    reports = map(json.loads, text.splitlines()) if path.endswith(".jsonl") else [json.loads(text)]
    found = [report for report in reports if memory_rows(report)]
    if not found:
        sys.exit(f"{path} has no report with the cell memory")
    return found[-1]


def groups(rows):
    """Rows that are compared with each other, by what their tenants have of the KV cache."""
    result = {}
    for row in rows:
        key = "reserved" if row["kv_cache"] == "reserved" else row["kv_tokens_per_tenant"]
        result.setdefault(key, []).append(row)
    return result


def title(key):
    return "KV cache reserved, almost empty" if key == "reserved" else f"{key:,} tokens of KV cache per adapter"


def mib(num_bytes):
    return f"{num_bytes / MIB:,.0f}"


def percent(share):
    return f"{-100 * share:.1f} %".replace("-", "−")


def table(rows):
    lines = ["| | weights | adapters | KV filled | KV empty | rest | used | reserved | used | reserved |",
             "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for key, members in groups(rows).items():
        lines.append(f"| **{title(key)}** |" + " |" * 9)
        for row in members:
            cells = [mib(row[owner]) for owner in ("weights", "adapters", "kv", "empty_arena", "rest", "used",
                                                   "reserved")]
            cells += [percent(row[f"reduction_of_{kind}"]) if f"reduction_of_{kind}" in row else ""
                      for kind in ("used", "reserved")]
            lines.append(f"| {row['arrangement']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def bytes_of_one(rows):
    """Of a process without adapters and tokens, of an adapter, and of a token."""
    own = [row for row in rows if row["kv_cache"] == "own" and row["num_processes"] > 1]
    fullest = max(own, key=lambda row: row["kv_tokens_per_tenant"])
    count = fullest["num_processes"]
    process = (fullest["weights"] + fullest["rest"]) / count
    token = fullest["kv"] / count / max(fullest["kv_tokens_per_tenant"], 1)
    return process, fullest["adapters"] / count, token


def computed_table(rows):
    """Processes against one process for numbers of adapters and tokens that were not measured."""
    process, adapter, token = bytes_of_one(rows)
    lines = ["| adapters | KV tokens each | processes | one process, own KV | one process, shared KV |",
             "|---:|---:|---:|---:|---:|"]
    for tokens in KV_TOKENS:
        for count in SCALES:
            kv = tokens * token
            many = count * (process + adapter + kv)
            one = [process + count * (adapter + kv), process + count * adapter + kv]
            cells = [f"{size / GIB:,.1f} ({percent(1 - size / many)})" for size in one]
            lines.append(f"| {count:,} | {tokens:,} | {many / GIB:,.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def text(x, y, words, size=12, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}">'
            f"{escape(words)}</text>")


def legend():
    parts, x = [], 14
    for _, name, colour in OWNERS:
        parts.append(f'<rect x="{x}" y="46" width="12" height="12" fill="{colour}" stroke="#555" stroke-width="0.4"/>')
        parts.append(text(x + 17, 56.5, name))
        x += 34 + 6.7 * len(name)
    return parts


def bar(row, y, scale):
    parts, x = [text(LEFT - 10, y + BAR - 5, row["arrangement"], anchor="end")], float(LEFT)
    for owner, _, colour in OWNERS:
        width = max(row[owner], 0) * scale
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>')
        x += width
    label = f"{mib(row['reserved'])} MiB"
    if "reduction_of_reserved" in row:
        label += f" ({percent(row['reduction_of_reserved'])})"
    parts.append(text(x + 6, y + BAR - 5, label))
    return parts


def plot(report):
    rows = memory_rows(report)
    scale = (WIDTH - LEFT - RIGHT) / max(row["reserved"] for row in rows)
    adapters = max(row["num_processes"] for row in rows)
    parts = [text(14, 26, f"{adapters} adapters of one base: {adapters} processes, or one", 16, weight="bold"),
             *legend()]
    y = TOP
    for key, members in groups(rows).items():
        parts.append(text(14, y + 10, title(key), weight="bold"))
        y += 18
        for row in members:
            parts += bar(row, y, scale)
            y += BAR + GAP
        y += 14
    body = "\n".join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" '
            f'fill="#222">\n<rect width="{WIDTH}" height="{y}" fill="#fff"/>\n{body}\n</svg>\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", help="JSON of bench lora, or a .jsonl of such")
    parser.add_argument("--svg", help="where to write the plot")
    options = parser.parse_args()
    report = read_report(options.report)
    rows = memory_rows(report)
    print("MiB:\n\n" + table(rows))
    print("\nComputed from these, GiB:\n\n" + computed_table(rows))
    if options.svg:
        pathlib.Path(options.svg).write_text(plot(report))


if __name__ == "__main__":
    main()
