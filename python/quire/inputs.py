"""Prompts in the forms that vLLM takes: text, token ids, or a dictionary of either."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Union


class _TextPromptRequired(TypedDict):
    prompt: str


class TextPrompt(_TextPromptRequired, total=False):
    """A text; prompts share cached prefixes with those of the same cache_salt only."""

    cache_salt: str


class _TokensPromptRequired(TypedDict):
    prompt_token_ids: list[int]


class TokensPrompt(_TokensPromptRequired, total=False):
    """Token ids, and their text where it is known."""

    prompt: str
    cache_salt: str


PromptType = Union[str, Sequence[int], TextPrompt, TokensPrompt]


@dataclass
class ParsedPrompt:
    """One prompt; without token ids its text is to be encoded."""

    text: str | None = None
    token_ids: list[int] | None = None
    cache_salt: str = ""

    @property
    def value(self) -> str | list[int]:
        """What the engine gets."""
        if self.token_ids is not None:
            return self.token_ids
        return self.text or ""


def is_token_ids(prompt: object) -> bool:
    is_sequence = isinstance(prompt, Sequence) and not isinstance(prompt, (str, bytes))
    return is_sequence and all(isinstance(item, int) for item in prompt)  # type: ignore[attr-defined]


def parse_prompts(prompts: object) -> list[ParsedPrompt]:
    """One prompt, or a list of prompts."""
    if isinstance(prompts, (str, Mapping)) or (prompts and is_token_ids(prompts)):
        return [parse_prompt(prompts)]
    if not isinstance(prompts, Sequence) or isinstance(prompts, bytes):
        raise TypeError(f"prompts must be a prompt or a list of prompts, got {_kind(prompts)}")
    return [parse_prompt(prompt) for prompt in prompts]


def parse_prompt(prompt: object) -> ParsedPrompt:
    """Raises TypeError or ValueError if it is none."""
    if isinstance(prompt, str):
        return ParsedPrompt(text=prompt)
    if isinstance(prompt, Mapping):
        return _parse_dictionary(prompt)
    if isinstance(prompt, Sequence) and not isinstance(prompt, bytes):
        return ParsedPrompt(token_ids=_token_ids("prompt", prompt))
    raise TypeError(f"prompt must be a str, token ids or a dict, got {_kind(prompt)}")


def _parse_dictionary(prompt: Mapping[str, Any]) -> ParsedPrompt:
    unknown = set(prompt) - {"prompt", "prompt_token_ids", "cache_salt"}
    given = {key for key in unknown if prompt[key] is not None}
    if given:
        raise ValueError(f"prompt has keys that are not supported: {', '.join(sorted(given))}")
    text, token_ids = prompt.get("prompt"), prompt.get("prompt_token_ids")
    if text is not None and not isinstance(text, str):
        raise TypeError(f"prompt must be a str, got {_kind(text)}")
    if text is None and token_ids is None:
        raise ValueError("prompt must have the key prompt or prompt_token_ids")
    ids = None if token_ids is None else _token_ids("prompt_token_ids", token_ids)
    return ParsedPrompt(text, ids, prompt.get("cache_salt") or "")


def _token_ids(name: str, ids: Sequence[Any]) -> list[int]:
    try:
        return array("i", ids).tolist()
    except TypeError:
        raise TypeError(f"{name} must hold token ids, which are int") from None
    except OverflowError:
        raise ValueError(f"{name} holds a token id that is out of range") from None


def _kind(value: object) -> str:
    return type(value).__name__
