"""A progress bar on stderr: tqdm where it is installed, else a plain line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

_INTERVAL_S = 0.2


class ProgressLine:
    """As much of tqdm's interface as LLM.generate uses."""

    def __init__(self, total: int, desc: str) -> None:
        self._total = total
        self._desc = desc
        self._num_done = 0
        self._start = time.monotonic()
        self._next = 0.0

    def update(self, count: int) -> None:
        self._num_done += count
        now = time.monotonic()
        if now >= self._next or self._num_done == self._total:
            self._next = now + _INTERVAL_S
            elapsed = now - self._start
            rate = self._num_done / elapsed if elapsed > 0 else 0.0
            line = f"{self._desc}: {self._num_done}/{self._total}, {rate:.1f}/s"
            print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        print(file=sys.stderr)


def open_progress(use_tqdm: bool | Callable[..., Any], total: int) -> Any:
    """A bar, or None if there is to be none: `use_tqdm` is False, or nobody would see it.  Given a
    class like tqdm, that is used in any case."""
    if callable(use_tqdm):
        return use_tqdm(total=total, desc="Processed prompts")
    if not use_tqdm or not sys.stderr.isatty():
        return None
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return ProgressLine(total=total, desc="Processed prompts")
    return tqdm(total=total, desc="Processed prompts", dynamic_ncols=True)
