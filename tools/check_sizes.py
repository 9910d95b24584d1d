#!/usr/bin/env python3
"""Size ratchet: no host file over 500 lines (device kernels 700), at most 2 % of functions over 70 lines."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_FILE, MAX_KERNEL_FILE, MAX_FUNCTION, MAX_LONG_SHARE = 500, 700, 70, 0.02
NOISE = re.compile(r'R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'|//[^\n]*|/\*.*?\*/', re.S)
NOT_FUNCTION = re.compile(r"^\s*(namespace|class|struct|enum|union|extern)\b|=\s*$|^\s*$")


def blank(match):
    return re.sub(r"[^\n]", " ", match.group(0))


def functions(text):
    """Yields (line, length) of each outermost function body; a heuristic on braces, not a parser."""
    text, stack, start, line = NOISE.sub(blank, text), [], 0, 1
    for i, char in enumerate(text):
        line += char == "\n"
        if char == "{":
            head = text[start:i].strip()
            head = head[head.rfind("public:") + 7:].strip() if "public:" in head else head
            is_function = "(" in head and not NOT_FUNCTION.search(head) and "body" not in stack
            stack.append("body" if is_function else "other")
            if is_function:
                begin = line
            start = i + 1
        elif char == "}":
            if stack and stack.pop() == "body":
                yield begin, line - begin + 1
            start = i + 1
        elif char == ";":
            start = i + 1


def main():
    problems, long_functions, count = [], [], 0
    for path in sorted(p for top in ("src", "include", "tests", "bench") for p in (ROOT / top).rglob("*")):
        if path.suffix not in (".h", ".cc", ".cu", ".cuh"):
            continue
        text, name = path.read_text(), str(path.relative_to(ROOT))
        limit = MAX_KERNEL_FILE if "/cuda/" in name else MAX_FILE
        if text.count("\n") > limit:
            problems.append(f"{name}: {text.count(chr(10))} lines, the limit is {limit}")
        for line, length in functions(text):
            count += 1
            if length > MAX_FUNCTION:
                long_functions.append(f"{name}:{line}: function of {length} lines")
    share = len(long_functions) / max(count, 1)
    print("\n".join(problems + long_functions))
    print(f"{count} functions, {len(long_functions)} over {MAX_FUNCTION} lines ({share:.1%})")
    return 1 if problems or share > MAX_LONG_SHARE else 0


if __name__ == "__main__":
    sys.exit(main())
