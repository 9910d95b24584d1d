#!/usr/bin/env python3
"""Checks every #include of src/ and include/ against tools/layers.txt; prints strays and cycles, and types that
two headers define: the linker would keep one destructor for both."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TYPE = re.compile(r"^(?:struct|class|enum class) (?:alignas\([^)]*\) )?(\w+)[^;]*?\{", re.M)
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def read_rules():
    layers, restricted = {}, {}
    for line in (ROOT / "tools/layers.txt").read_text().splitlines():
        line = line.split("#")[0].strip()
        if "->" in line:
            header, places = line.split("->")
            restricted[header.strip()] = tuple(places.split())
        elif ":" in line:
            layer, allowed = line.split(":")
            layers[layer.strip()] = set(allowed.split())
    return layers, restricted


def layer_of(path):
    parts = path.relative_to(ROOT).parts
    return "api" if parts[0] == "include" else parts[1]


def main():
    layers, restricted = read_rules()
    problems = []
    for layer, allowed in layers.items():
        problems += [f"layers.txt: {layer} and {other} include each other" for other in allowed
                     if layer in layers.get(other, ())]
    files = [p for top in ("src", "include") for p in sorted((ROOT / top).rglob("*"))
             if p.suffix in (".h", ".cc", ".cu", ".cuh")]
    homes = {}
    for path in files:
        if path.suffix in (".h", ".cuh") and "/cpu/" not in str(path):
            for type_name in TYPE.findall(path.read_text()):
                homes.setdefault(type_name, set()).add(str(path.relative_to(ROOT)))
    problems += [f"{type_name} is defined in {' and '.join(sorted(where))}"
                 for type_name, where in homes.items() if len(where) > 1]
    for path in files:
        here, name = layer_of(path), str(path.relative_to(ROOT))
        for _, target in INCLUDE.findall(path.read_text()):
            there = "api" if target.startswith("quire/") else target.split("/")[0]
            if there in layers and there != here and there not in layers[here]:
                if not (name.endswith("_test.cc") and there == "api"):
                    problems.append(f"{name}: layer {here} may not include {target}")
            for header, places in restricted.items():
                if target.startswith(header) and not name.startswith(places):
                    problems.append(f"{name}: {target} is only for {' '.join(places)}")
    print("\n".join(problems) or f"{len(files)} files respect the layer table")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
