"""Outputs as they come, for asyncio: vLLM's AsyncLLM."""

from __future__ import annotations

import asyncio
import itertools
import threading
import weakref
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Union

from quire import _core
from quire.engine_args import EngineArgs
from quire.inputs import PromptType, parse_prompt
from quire.loaded_model import LoadedModel, check_params, native_request
from quire.lora.request import LoRARequest
from quire.outputs import OutputAssembler, RequestOutput
from quire.sampling_params import SamplingParams
from quire.tokenizer import Tokenizer

_LONG_WAIT_S = 3600.0

_Item = Union[_core.RequestOutput, Exception]


class AsyncLLM:
    """A loaded model for any number of concurrent callers.

    llm = AsyncLLM(model="quire-demo")
    async for output in llm.generate("Once upon a time", SamplingParams(max_tokens=40)):
        print(output.outputs[0].text)

    Takes an EngineArgs, or its arguments.  Raises as LLM does.
    """

    def __init__(self, engine_args: EngineArgs | None = None, **arguments: Any) -> None:
        if engine_args is not None and arguments:
            raise TypeError("give either engine_args or their arguments, not both")
        self._model = LoadedModel(engine_args or EngineArgs(**arguments))
        self._delivery = _Delivery(self._model.native.stream())
        self._stop_delivery = weakref.finalize(self, self._delivery.stop)

    @classmethod
    def from_engine_args(cls, engine_args: EngineArgs) -> AsyncLLM:
        return cls(engine_args)

    async def generate(
        self,
        prompt: PromptType,
        sampling_params: SamplingParams | None = None,
        request_id: str | None = None,
        *,
        lora_request: LoRARequest | None = None,
        priority: int = 0,
    ) -> AsyncGenerator[RequestOutput, None]:
        """The outputs of one request; SamplingParams.output_kind says whether each holds
        everything so far or what is new.  Leaving the loop early ends the request.

        Raises ValueError if the request_id is in flight, and as LLM.generate does.
        """
        params = self._model.default_params if sampling_params is None else sampling_params
        parsed = parse_prompt(prompt)
        request_id = self._delivery.fresh_id() if request_id is None else request_id
        request = native_request(
            parsed, check_params(params).native(), lora_request, request_id, priority
        )
        assembler = OutputAssembler(parsed.text, lora_request, params.output_kind)
        consumer = _Consumer(asyncio.get_running_loop())
        self._delivery.register(request_id, consumer)
        finished = False
        try:
            # Encoding a long prompt or reading an adapter must not hold up the loop.
            await asyncio.to_thread(self._delivery.submit, request, request_id, consumer)
            while not finished:
                piece = await consumer.queue.get()
                if isinstance(piece, Exception):
                    raise piece
                finished = piece.finished
                output = assembler.add(piece)
                if output is not None:
                    yield output
        finally:
            self._delivery.unregister(request_id, abort=not finished)

    async def abort(self, request_id: str | Iterable[str]) -> None:
        """Ends requests: a last output of each has finish_reason abort."""
        for one in [request_id] if isinstance(request_id, str) else request_id:
            self._delivery.abort(one)

    def get_tokenizer(self) -> Tokenizer:
        return Tokenizer(self._model)

    def shutdown(self) -> None:
        """Ends what is in flight, where RuntimeError is raised, and frees the model's memory."""
        self._stop_delivery()
        self._model.close()


AsyncLLMEngine = AsyncLLM


class _Consumer:
    """The waiting end of one request."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.queue: asyncio.Queue[_Item] = asyncio.Queue()
        self.is_gone = False


class _Delivery:
    """Carries outputs from the engine to the event loops that wait for them, on its own thread."""

    def __init__(self, stream: _core.RequestStream) -> None:
        self._stream: _core.RequestStream | None = stream  # None once stopped
        self._ids = itertools.count()
        # Guards what follows; stop() may be called by the garbage collector in the midst of a call.
        self._lock = threading.RLock()
        self._consumers: dict[str, _Consumer] = {}
        self._failure: Exception | None = None
        self._thread = threading.Thread(
            target=self._run, args=(stream,), name="quire-outputs", daemon=True
        )
        self._thread.start()

    def fresh_id(self) -> str:
        return f"async-{next(self._ids)}"

    def register(self, request_id: str, consumer: _Consumer) -> None:
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if request_id in self._consumers:
                raise ValueError(f"request_id {request_id} is in flight already")
            self._consumers[request_id] = consumer

    def submit(
        self, request: _core.GenerationRequest, request_id: str, consumer: _Consumer
    ) -> None:
        stream = self._stream
        if stream is None:
            return  # stop() has told the consumer
        stream.add(request)
        with self._lock:
            is_gone = consumer.is_gone
        if is_gone:
            stream.abort(request_id)

    def unregister(self, request_id: str, abort: bool) -> None:
        with self._lock:
            consumer = self._consumers.pop(request_id, None)
            if consumer is not None:
                consumer.is_gone = True
        if abort:
            self.abort(request_id)

    def abort(self, request_id: str) -> None:
        if self._stream is not None:
            self._stream.abort(request_id)

    def num_unfinished(self) -> int:
        """Requests that the engine has, whether somebody waits for them or not."""
        return 0 if self._stream is None else self._stream.num_unfinished

    def stop(self) -> None:
        self._fail(RuntimeError("the model has been shut down"))
        if self._stream is not None:
            self._stream.wake()
            if threading.current_thread() is not self._thread:
                self._thread.join()
            self._stream = None

    def _run(self, stream: _core.RequestStream) -> None:
        while self._failure is None:
            try:
                self._deliver(stream.poll(_LONG_WAIT_S))
            except RuntimeError as error:  # the engine has failed
                self._fail(error)

    def _deliver(self, pieces: list[_core.RequestOutput]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Consumer, _Item]]] = {}
        with self._lock:
            for piece in pieces:
                consumer = self._consumers.get(piece.request_id)
                if consumer is not None:
                    by_loop.setdefault(consumer.loop, []).append((consumer, piece))
        for loop, items in by_loop.items():
            _post(loop, items)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            self._failure = self._failure or error
            consumers = list(self._consumers.values())
        for consumer in consumers:
            _post(consumer.loop, [(consumer, error)])


def _post(loop: asyncio.AbstractEventLoop, items: list[tuple[_Consumer, _Item]]) -> None:
    def put() -> None:
        for consumer, item in items:
            consumer.queue.put_nowait(item)

    try:
        loop.call_soon_threadsafe(put)
    except RuntimeError:  # the loop is closed; its requests are ended by their generators
        pass
