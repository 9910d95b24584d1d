#!/usr/bin/env python3
"""Checks that the tables are complete: every extension file has its row."""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# (files, how a file's row is recognised in the table, the table)
TABLES = [
    ("src/models/*.cc", "make_{stem}", "src/models/registry.cc"),
    ("src/server/openai/*.cc", "{stem}", "src/server/routes.cc"),
    ("src/cli/commands/*.cc", "{stem}", "src/cli/main.cc"),
]
NOT_EXTENSIONS = {"registry", "config", "config_fields", "rope_options"}


def main():
    problems = []
    for pattern, row, table in TABLES:
        rows = (ROOT / table).read_text() if (ROOT / table).exists() else ""
        for path in sorted(ROOT.glob(pattern)):
            if path.stem in NOT_EXTENSIONS or path.stem.endswith("_test"):
                continue
            if row.format(stem=path.stem) not in rows:
                problems.append(f"{path.relative_to(ROOT)} has no row in {table}")
    print("\n".join(problems) or "every extension has its row")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
