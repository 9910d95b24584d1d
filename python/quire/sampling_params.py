"""How a request is sampled, under the names of vLLM's SamplingParams."""

from __future__ import annotations

import copy
import enum
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from quire import _core
from quire._assign import assign


class RequestOutputKind(enum.Enum):
    """What the outputs of a streamed request hold."""

    CUMULATIVE = 0
    """Everything so far."""
    DELTA = 1
    """What is new."""
    FINAL_ONLY = 2
    """There is one output, at the end."""


@dataclass
class RepetitionDetectionParams:
    """Ends a request whose output repeats itself."""

    max_pattern_size: int = 0
    """The longest repeated pattern looked for, in tokens; 0 looks for none."""
    min_pattern_size: int = 1
    min_count: int = 2
    """How often in a row the pattern occurs before the request ends."""

    def native(self) -> _core.RepetitionDetection:
        native = _core.RepetitionDetection()
        for field in fields(self):
            assign(native, field.name, getattr(self, field.name), str(field.type))
        return native


@dataclass
class SamplingParams:
    """Checked when made: TypeError or ValueError name the argument that is wrong."""

    n: int = 1
    """Completions of one prompt; greedy sampling allows one."""
    presence_penalty: float = 0.0
    """From -2 to 2, for tokens that the output has."""
    frequency_penalty: float = 0.0
    """From -2 to 2, by how often the output has them."""
    repetition_penalty: float = 1.0
    """Above 0, for tokens of prompt and output; 1 is off."""
    temperature: float = 1.0
    """From 0, which is greedy, to 2."""
    top_p: float = 1.0
    """Above 0, at most 1: the likeliest tokens that have this probability together."""
    top_k: int = 0
    """The likeliest tokens sampled from; 0 and -1 are all."""
    min_p: float = 0.0
    """From 0 to 1: the least probability, relative to the likeliest token's."""
    seed: int | None = None
    stop: str | list[str] | None = None
    """Strings that end the output, which does not include them."""
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    """None is as many as the context has room for."""
    min_tokens: int = 0
    """Nothing but max_tokens ends the output before it has these."""
    logprobs: int | None = None
    """How many of the likeliest tokens to report at each position; -1 is all."""
    prompt_logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    include_stop_str_in_output: bool = False
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE
    """For LLMEngine and AsyncLLM; LLM.generate returns whole outputs."""
    bad_words: list[str] | None = None
    """Words that the output must not have."""
    logit_bias: dict[int, float] | None = None
    """Token ids to what is added to their logits, from -100 to 100."""
    allowed_token_ids: list[int] | None = None
    repetition_detection: RepetitionDetectionParams | None = None

    def __post_init__(self) -> None:
        if self.seed == -1:
            self.seed = None
        if isinstance(self.stop, str):
            self.stop = [self.stop]
        self.stop = self._list_of("stop", str)
        self.bad_words = self._list_of("bad_words", str)
        self.stop_token_ids = self._list_of("stop_token_ids", int)
        if self.allowed_token_ids is not None and len(self.allowed_token_ids) == 0:
            raise ValueError("allowed_token_ids must not be empty; None allows all")
        if self.logit_bias is not None:
            self.logit_bias = {int(token): bias for token, bias in self.logit_bias.items()}
        if not isinstance(self.output_kind, RequestOutputKind):
            raise TypeError(f"output_kind must be RequestOutputKind, got {self.output_kind!r}")
        self.native()

    def clone(self) -> SamplingParams:
        """A copy that shares nothing."""
        return copy.deepcopy(self)

    def native(self) -> _core.SamplingParams:
        """The engine's form, checked again: fields may have been changed."""
        native = _core.SamplingParams()
        optional = ("seed", "max_tokens", "logprobs", "prompt_logprobs")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, RepetitionDetectionParams):
                value = value.native()
            is_given = value is not None or field.name in optional
            if field.name != "output_kind" and is_given:
                assign(native, field.name, value, str(field.type))
        native.check()
        return native

    @classmethod
    def from_native(cls, native: _core.SamplingParams) -> SamplingParams:
        """What a model recommends, without the digits that single precision does not have."""
        return cls(
            repetition_penalty=round(native.repetition_penalty, 6),
            temperature=round(native.temperature, 6),
            top_p=round(native.top_p, 6),
            top_k=native.top_k,
            min_p=round(native.min_p, 6),
            max_tokens=native.max_tokens,
        )

    def _list_of(self, name: str, kind: type) -> list[Any]:
        value = getattr(self, name)
        if value is None:
            return []
        is_list = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        if not is_list or not all(isinstance(item, kind) for item in value):
            raise TypeError(f"{name} must be a list of {kind.__name__}, got {value!r}")
        return list(value)
