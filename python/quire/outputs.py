"""What requests give back, under the names of vLLM's RequestOutput and CompletionOutput."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Dict, List, Optional

from quire import _core
from quire.lora.request import LoRARequest
from quire.sampling_params import RequestOutputKind


@dataclass(frozen=True)
class Logprob:
    """One token at one position."""

    logprob: float
    rank: int | None = None
    """1 is the likeliest."""
    decoded_token: str | None = None


# By position: token ids to their logprobs, the token that is there among them.
SampleLogprobs = List[Dict[int, Logprob]]
PromptLogprobs = List[Optional[Dict[int, Logprob]]]


@dataclass
class RequestMetrics:
    """When a request came how far, in seconds; None until then.

    Times are those of time.time(), and those whose names end in _ts those of time.monotonic().
    """

    arrival_time: float
    first_scheduled_time: float | None
    first_token_time: float | None
    last_token_time: float | None
    finished_time: float | None
    queued_ts: float
    scheduled_ts: float | None
    first_token_ts: float | None
    last_token_ts: float | None
    num_preemptions: int = 0

    @property
    def time_in_queue(self) -> float | None:
        return None if self.scheduled_ts is None else self.scheduled_ts - self.queued_ts

    @property
    def first_token_latency(self) -> float | None:
        return None if self.first_token_ts is None else self.first_token_ts - self.queued_ts


@dataclass
class CompletionOutput:
    """One of the n completions of a prompt."""

    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    """Of the tokens so far; None unless logprobs were asked for."""
    logprobs: SampleLogprobs | None
    finish_reason: str | None = None
    """stop, length, abort, repetition or error; None while there is more to come."""
    stop_reason: int | str | None = None
    """The stop string or token id that ended it; None for the end of text."""
    lora_request: LoRARequest | None = None

    def finished(self) -> bool:
        return self.finish_reason is not None


@dataclass
class RequestOutput:
    """A prompt and its completions."""

    request_id: str
    prompt: str | None
    """None if it was given as token ids."""
    prompt_token_ids: list[int]
    prompt_logprobs: PromptLogprobs | None
    """One per prompt token, of which the first is None; None unless asked for."""
    outputs: list[CompletionOutput]
    finished: bool
    metrics: RequestMetrics | None = None
    lora_request: LoRARequest | None = None
    num_cached_tokens: int | None = None
    """Prompt tokens that came from the prefix cache."""


class OutputAssembler:
    """Makes the RequestOutputs of one request of what the engine hands out piece by piece."""

    def __init__(
        self, prompt: str | None, lora_request: LoRARequest | None, kind: RequestOutputKind
    ) -> None:
        self._prompt = prompt
        self._lora_request = lora_request
        self._kind = kind
        self._prompt_token_ids: list[int] = []
        self._prompt_logprobs: PromptLogprobs | None = None
        self._completions: dict[int, CompletionOutput] = {}

    def add(self, piece: _core.RequestOutput) -> RequestOutput | None:
        """The output after a piece; None if it is not time for one."""
        self._prompt_token_ids = self._prompt_token_ids or piece.prompt_token_ids
        if piece.prompt_logprobs:
            self._prompt_logprobs = [
                _position(position) if position else None for position in piece.prompt_logprobs
            ]
        parts = [self._completion(part) for part in piece.outputs]
        if self._kind is not RequestOutputKind.DELTA:
            for part in parts:
                self._append(part)
            if self._kind is RequestOutputKind.FINAL_ONLY and not piece.finished:
                return None
            parts = [_copy(self._completions[index]) for index in sorted(self._completions)]
        return RequestOutput(
            request_id=piece.request_id,
            prompt=self._prompt,
            prompt_token_ids=self._prompt_token_ids,
            prompt_logprobs=self._prompt_logprobs,
            outputs=parts,
            finished=piece.finished,
            metrics=_metrics(piece.metrics, piece.finished),
            lora_request=self._lora_request,
            num_cached_tokens=piece.num_cached_tokens,
        )

    def _completion(self, part: _core.CompletionOutput) -> CompletionOutput:
        logprobs = [_position(position) for position in part.logprobs] or None
        return CompletionOutput(
            index=part.index,
            text=part.text,
            token_ids=part.token_ids,
            cumulative_logprob=part.cumulative_logprob if logprobs else None,
            logprobs=logprobs,
            finish_reason=part.finish_reason,
            stop_reason=part.stop_reason,
            lora_request=self._lora_request,
        )

    def _append(self, part: CompletionOutput) -> None:
        whole = self._completions.setdefault(part.index, part)
        if whole is part:
            return
        whole.text += part.text
        whole.token_ids += part.token_ids
        if part.logprobs is not None:
            whole.logprobs = (whole.logprobs or []) + part.logprobs
            whole.cumulative_logprob = part.cumulative_logprob
        whole.finish_reason = part.finish_reason
        whole.stop_reason = part.stop_reason


def _copy(completion: CompletionOutput) -> CompletionOutput:
    logprobs = None if completion.logprobs is None else list(completion.logprobs)
    return replace(completion, token_ids=list(completion.token_ids), logprobs=logprobs)


def _position(logprobs: Sequence[_core.Logprob]) -> dict[int, Logprob]:
    return {entry.token_id: Logprob(entry.logprob, entry.rank, entry.decoded_token) for entry in logprobs}


def _metrics(native: _core.RequestMetrics, finished: bool) -> RequestMetrics:
    wall_offset = time.time() - time.monotonic()
    scheduled = native.scheduled_time_s or None
    first_token = native.first_token_time_s or None
    last_token = native.last_token_time_s or None

    def wall(monotonic: float | None) -> float | None:
        return None if monotonic is None else monotonic + wall_offset

    return RequestMetrics(
        arrival_time=native.arrival_time_s + wall_offset,
        first_scheduled_time=wall(scheduled),
        first_token_time=wall(first_token),
        last_token_time=wall(last_token),
        finished_time=wall(last_token) if finished else None,
        queued_ts=native.arrival_time_s,
        scheduled_ts=scheduled,
        first_token_ts=first_token,
        last_token_ts=last_token,
        num_preemptions=native.num_preemptions,
    )
