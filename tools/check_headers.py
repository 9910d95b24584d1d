#!/usr/bin/env python3
"""Compiles every header of src/ and include/ alone.  Usage: check_headers.py COMPILER

A header that is the first include of its own .cc file has been compiled alone by the build already.
"""
import concurrent.futures
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Written to be included once per instruction set, by a file that has opened a namespace.
FRAGMENTS = ("src/kernels/cpu/generic/", "src/kernels/cpu/vec_")
# Needs the CUDA toolkit; compiled with its preset.
CUDA = ("src/kernels/cuda/",)


def is_proven(header):
    source = header.with_suffix(".cc")
    if not source.exists():
        return False
    first = next((line for line in source.read_text().splitlines() if line.startswith("#include")), "")
    return first == f'#include "{header.relative_to(ROOT / "src")}"'


def compile_alone(header):
    command = [sys.argv[1], "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wno-pragma-once-outside-header",
               f"-I{ROOT}/src", f"-I{ROOT}/include", "-x", "c++", str(header)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if result.returncode == 0 else f"{header.relative_to(ROOT)} does not compile alone:\n{result.stderr}"


def main():
    headers = [p for top in ("src", "include") for p in sorted((ROOT / top).rglob("*.h"))
               if not str(p.relative_to(ROOT)).startswith(FRAGMENTS + CUDA) and not is_proven(p)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        failures = [text for text in pool.map(compile_alone, headers) if text]
    print("\n".join(failures) or f"{len(headers)} headers without a source of their own compile alone")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
