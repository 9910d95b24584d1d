#!/usr/bin/env python3
"""Checks that the tables are complete: every extension has its row."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Extensions that are files: (files, what is no extension among them, how its row reads, the table).
FILE_TABLES = [
    ("src/models/*.cc", {"registry", "config", "config_fields", "rope_options"}, "make_{stem}",
     "src/models/registry.cc"),
    ("src/cli/commands/*.cc", set(), "{stem}", "src/cli/main.cc"),
]
# Extensions that are functions: (the header that declares them, the names, the table).
FUNCTION_TABLES = [
    ("src/server/openai/handlers.h", r"\b((?:get|post|prepare)_\w+)\(", "src/server/routes.cc"),
]


def main():
    problems = []
    for pattern, others, row, table in FILE_TABLES:
        rows = (ROOT / table).read_text()
        stems = {path.stem for path in ROOT.glob(pattern) if not path.stem.endswith("_test")} - others
        problems += [f"{stem}.cc has no row in {table}" for stem in sorted(stems) if row.format(stem=stem) not in rows]
    for header, names, table in FUNCTION_TABLES:
        rows = (ROOT / table).read_text()
        declared = sorted(set(re.findall(names, (ROOT / header).read_text())))
        problems += [f"{name}() has no row in {table}" for name in declared if not re.search(rf"\b{name}\b", rows)]
    print("\n".join(problems) or "every extension has its row")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
