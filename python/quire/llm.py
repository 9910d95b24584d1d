"""Offline inference: prompts in, whole outputs back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from quire import _core
from quire.engine_args import EngineArgs
from quire.inputs import ParsedPrompt, PromptType, parse_prompts
from quire.loaded_model import LoadedModel, check_params, native_request
from quire.lora.request import LoRARequest
from quire.outputs import OutputAssembler, RequestOutput
from quire.progress import open_progress
from quire.sampling_params import RequestOutputKind, SamplingParams
from quire.tokenizer import Messages, Tokenizer

_T = TypeVar("_T")


class LLM:
    """A loaded model.  Any number of threads may call it; their requests share batches.

    Besides the arguments named here it takes those of EngineArgs, where all are described.
    Raises FileNotFoundError if the model is not there, RuntimeError if it cannot be loaded, and
    TypeError or ValueError naming the argument that is wrong.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "quire-demo",
        *,
        tokenizer: str | os.PathLike[str] | None = None,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        quantization: str | None = None,
        seed: int | None = 0,
        gpu_memory_utilization: float = 0.92,
        max_model_len: int | str | None = None,
        max_num_seqs: int | None = None,
        max_num_batched_tokens: int | None = None,
        enable_prefix_caching: bool | None = None,
        enable_lora: bool = False,
        max_loras: int | None = None,
        max_lora_rank: int | None = None,
        max_cpu_loras: int | None = None,
        **engine_args: Any,
    ) -> None:
        args = EngineArgs(
            model=model,
            tokenizer=tokenizer,
            trust_remote_code=trust_remote_code,
            tensor_parallel_size=tensor_parallel_size,
            dtype=dtype,
            quantization=quantization,
            seed=seed,
            gpu_memory_utilization=gpu_memory_utilization,
            max_model_len=max_model_len,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            enable_prefix_caching=enable_prefix_caching,
            enable_lora=enable_lora,
            max_loras=max_loras,
            max_lora_rank=max_lora_rank,
            max_cpu_loras=max_cpu_loras,
            **engine_args,
        )
        self._model = LoadedModel(args)

    def generate(
        self,
        prompts: PromptType | Sequence[PromptType],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        use_tqdm: bool | Callable[..., Any] = True,
        lora_request: LoRARequest | Sequence[LoRARequest | None] | None = None,
        priority: Sequence[int] | None = None,
    ) -> list[RequestOutput]:
        """Completes prompts, in one call as many as there are; outputs are in their order.

        A prompt is a text, a list of token ids, or a dictionary with prompt or prompt_token_ids.
        SamplingParams and LoRARequest are one for all prompts or one for each; without
        SamplingParams those that the model recommends hold.  All prompts are checked before the
        first one runs.  Ctrl-C raises KeyboardInterrupt, after which the LLM can be used again.
        """
        return self._run(
            parse_prompts(prompts), sampling_params, use_tqdm, lora_request, priority
        )

    def chat(
        self,
        messages: Messages | Sequence[Messages],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        use_tqdm: bool | Callable[..., Any] = True,
        lora_request: LoRARequest | Sequence[LoRARequest | None] | None = None,
        chat_template: str | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        priority: Sequence[int] | None = None,
    ) -> list[RequestOutput]:
        """Answers a conversation, or each of a list of conversations, by the model's chat
        template or the one given as Jinja source.  The rest is as in generate()."""
        if not messages:
            raise ValueError("messages must not be empty")
        tokenizer = self.get_tokenizer()
        conversations: Any = [messages] if isinstance(messages[0], Mapping) else messages
        prompts = []
        for conversation in conversations:
            text = tokenizer.apply_chat_template(
                conversation,
                tools=tools,
                chat_template=chat_template,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                tokenize=False,
                **(chat_template_kwargs or {}),
            )
            prompts.append(ParsedPrompt(text, tokenizer.encode(text, add_special_tokens=False)))
        return self._run(prompts, sampling_params, use_tqdm, lora_request, priority)

    def get_tokenizer(self) -> Tokenizer:
        return Tokenizer(self._model)

    def get_default_sampling_params(self) -> SamplingParams:
        """What holds where no SamplingParams are given."""
        return self._model.default_params.clone()

    def reset_prefix_cache(self) -> None:
        """Forgets cached prefixes."""
        self._model.native.reset_prefix_cache()

    def shutdown(self) -> None:
        """Frees the model's memory.  The LLM cannot be used any more."""
        self._model.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()

    def _run(
        self,
        prompts: list[ParsedPrompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None,
        use_tqdm: bool | Callable[..., Any],
        lora_request: LoRARequest | Sequence[LoRARequest | None] | None,
        priority: Sequence[int] | None,
    ) -> list[RequestOutput]:
        native = self._model.native
        params = self._native_params(sampling_params, len(prompts))
        adapters = _one_each("lora_request", lora_request, len(prompts))
        priorities = _one_each("priority", 0 if priority is None else priority, len(prompts))
        requests = [
            native_request(prompt, one_params, adapter, priority=one_priority)
            for prompt, one_params, adapter, one_priority in zip(
                prompts, params, adapters, priorities
            )
        ]
        outputs = _generate(native, requests, use_tqdm)
        return [
            _whole(output, prompt, adapter)
            for output, prompt, adapter in zip(outputs, prompts, adapters)
        ]

    def _native_params(
        self, sampling_params: SamplingParams | Sequence[SamplingParams] | None, count: int
    ) -> list[_core.SamplingParams]:
        given = self._model.default_params if sampling_params is None else sampling_params
        each = [check_params(params) for params in _one_each("sampling_params", given, count)]
        natives = {id(params): params for params in each}
        converted = {key: params.native() for key, params in natives.items()}
        return [converted[id(params)] for params in each]


def _one_each(name: str, value: _T | Sequence[_T], count: int) -> list[_T]:
    """A value for each of `count` prompts."""
    if not isinstance(value, (list, tuple)):
        return [value] * count  # type: ignore[list-item]
    if len(value) != count:
        raise ValueError(f"{name} has {len(value)} entries for {count} prompts")
    return list(value)


def _generate(
    native: _core.LLM,
    requests: list[_core.GenerationRequest],
    use_tqdm: bool | Callable[..., Any],
) -> list[_core.RequestOutput]:
    bar = open_progress(use_tqdm, len(requests))
    if bar is None:
        return native.generate(requests, None)

    def show(output: _core.RequestOutput) -> None:
        bar.update(1)

    try:
        return native.generate(requests, show)
    finally:
        bar.close()


def _whole(
    output: _core.RequestOutput, prompt: ParsedPrompt, adapter: LoRARequest | None
) -> RequestOutput:
    assembler = OutputAssembler(prompt.text, adapter, RequestOutputKind.DELTA)
    whole = assembler.add(output)
    assert whole is not None  # a delta is always given
    return whole
