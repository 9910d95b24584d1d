"""What LLM, LLMEngine and AsyncLLM share: a model in memory, and the way of a request to it."""

from __future__ import annotations

import weakref

from quire import _core
from quire.engine_args import EngineArgs
from quire.inputs import ParsedPrompt
from quire.lora.request import LoRARequest
from quire.sampling_params import SamplingParams


class LoadedModel:
    """Frees its memory when it is closed, collected, or the interpreter ends."""

    def __init__(self, args: EngineArgs) -> None:
        holder = [_core.LLM(args.native_options())]
        self._holder = holder
        self.close = weakref.finalize(self, holder.clear)
        self.default_params = SamplingParams()
        if args.generation_config == "auto":
            recommended = self.native.default_sampling_params()
            self.default_params = SamplingParams.from_native(recommended)

    @property
    def native(self) -> _core.LLM:
        if not self._holder:
            raise RuntimeError("the model has been shut down")
        return self._holder[0]


def check_params(params: object) -> SamplingParams:
    if not isinstance(params, SamplingParams):
        raise TypeError(f"sampling_params must be SamplingParams, got {params!r}")
    return params


def native_request(
    prompt: ParsedPrompt,
    native_params: _core.SamplingParams,
    lora_request: object = None,
    request_id: object = "",
    priority: object = 0,
) -> _core.GenerationRequest:
    """The engine's form of a request; raises TypeError naming the argument."""
    if not isinstance(lora_request, (LoRARequest, type(None))):
        raise TypeError(f"lora_request must be a LoRARequest, got {lora_request!r}")
    if not isinstance(request_id, str):
        raise TypeError(f"request_id must be str, got {request_id!r}")
    if not isinstance(priority, int):
        raise TypeError(f"priority must be int, got {priority!r}")
    return _core.GenerationRequest(
        prompt=prompt.value,
        params=native_params,
        lora_request=None if lora_request is None else lora_request.native(),
        request_id=request_id,
        priority=priority,
        cache_salt=prompt.cache_salt,
        add_special_tokens=True,
    )
