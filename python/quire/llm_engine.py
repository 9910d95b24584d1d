"""Requests one by one, and outputs as they come: vLLM's LLMEngine."""

from __future__ import annotations

from collections.abc import Iterable

from quire import _core
from quire.engine_args import EngineArgs
from quire.inputs import PromptType, parse_prompt
from quire.loaded_model import LoadedModel, check_params, native_request
from quire.lora.request import LoRARequest
from quire.outputs import OutputAssembler, RequestOutput
from quire.sampling_params import SamplingParams
from quire.tokenizer import Tokenizer

_POLL_S = 0.05  # between looks at signals


class LLMEngine:
    """A loaded model and the requests in flight.  For one thread.

    engine = LLMEngine.from_engine_args(EngineArgs(model="quire-demo"))
    engine.add_request("0", "Once upon a time", SamplingParams(max_tokens=40))
    while engine.has_unfinished_requests():
        for output in engine.step():
            print(output.outputs[0].text)
    """

    def __init__(self, engine_args: EngineArgs) -> None:
        self._model = LoadedModel(engine_args)
        self._native_stream: _core.RequestStream | None = self._model.native.stream()
        self._assemblers: dict[str, OutputAssembler] = {}

    @classmethod
    def from_engine_args(cls, engine_args: EngineArgs) -> LLMEngine:
        return cls(engine_args)

    def add_request(
        self,
        request_id: str,
        prompt: PromptType,
        params: SamplingParams,
        arrival_time: float | None = None,
        lora_request: LoRARequest | None = None,
        *,
        priority: int = 0,
    ) -> str:
        """Queues a request; `arrival_time` is accepted and not used.  Raises ValueError if the id
        is in flight, and as LLM.generate does."""
        parsed = parse_prompt(prompt)
        request = native_request(
            parsed, check_params(params).native(), lora_request, request_id, priority
        )
        added_id = self._stream.add(request)
        self._assemblers[added_id] = OutputAssembler(parsed.text, lora_request, params.output_kind)
        return added_id

    def step(self) -> list[RequestOutput]:
        """Waits until there is something new of some request, and returns it."""
        outputs: list[RequestOutput] = []
        while not outputs and self.has_unfinished_requests():
            for piece in self._stream.poll(_POLL_S):
                output = self._assemblers[piece.request_id].add(piece)
                if piece.finished:
                    del self._assemblers[piece.request_id]
                if output is not None:
                    outputs.append(output)
        return outputs

    def abort_request(self, request_id: str | Iterable[str]) -> None:
        """Ends requests: step() gives a last output of each, with finish_reason abort."""
        for one in [request_id] if isinstance(request_id, str) else request_id:
            self._stream.abort(one)

    def has_unfinished_requests(self) -> bool:
        return bool(self._assemblers)

    def get_num_unfinished_requests(self) -> int:
        return len(self._assemblers)

    def get_tokenizer(self) -> Tokenizer:
        return Tokenizer(self._model)

    def shutdown(self) -> None:
        """Ends what is in flight and frees the model's memory."""
        self._assemblers.clear()
        self._native_stream = None
        self._model.close()

    @property
    def _stream(self) -> _core.RequestStream:
        if self._native_stream is None:
            raise RuntimeError("the engine has been shut down")
        return self._native_stream
