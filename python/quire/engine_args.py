"""What an engine is started with, under the names of vLLM's EngineArgs."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from quire import _core
from quire._assign import assign

_DTYPES = {"half": "float16", "float": "float32"}
_LOWEST_IS_ONE = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "block_size",
    "kv_cache_memory_bytes",
    "num_threads",
    "max_loras",
    "max_lora_rank",
    "max_cpu_loras",
)
# Arguments that may only have one value, and why.
_FIXED = {
    "tensor_parallel_size": (1, "several GPUs are not supported yet"),
    "pipeline_parallel_size": (1, "several GPUs are not supported yet"),
    "data_parallel_size": (1, "several GPUs are not supported yet"),
    "quantization": (None, "quantised weights are not supported yet"),
    "kv_cache_dtype": ("auto", "the KV cache has the model's dtype"),
    "cpu_offload_gb": (0, "weights are not offloaded"),
    "speculative_config": (None, "speculative decoding is not supported yet"),
    "hf_overrides": (None, "the model's config.json is taken as it is"),
    "skip_tokenizer_init": (False, "a tokenizer is always loaded"),
}


@dataclass
class EngineArgs:
    """The arguments of LLM, LLMEngine and AsyncLLM.  None stands for a default that depends on
    the model or the machine."""

    model: str | os.PathLike[str] = "quire-demo"
    """A directory, a hub id in the local Hugging Face cache, or quire-demo."""
    tokenizer: str | os.PathLike[str] | None = None
    """Likewise; None is the model's."""
    tokenizer_mode: str = "auto"
    revision: str | None = None
    """Of a hub id: a branch, tag or commit."""
    tokenizer_revision: str | None = None
    dtype: str = "auto"
    """auto, float32, float16 or bfloat16; a torch.dtype is understood."""
    load_format: str = "auto"
    """auto, safetensors, or dummy for random weights."""
    generation_config: str = "auto"
    """auto: without SamplingParams the model's generation_config.json holds; vllm: it does not."""
    seed: int | None = 0
    """Of requests without a seed of their own."""

    max_model_len: int | str | None = None
    """Longest prompt and output together, in tokens; None, -1 and auto are the model's."""
    max_num_seqs: int | None = None
    """Completions computed at a time."""
    max_num_batched_tokens: int | None = None
    """Tokens computed in one step."""
    block_size: int | None = None
    """Tokens in a block of the KV cache."""
    gpu_memory_utilization: float = 0.92
    """Share of a GPU's memory that weights and KV cache may take."""
    kv_cache_memory_bytes: int | None = None
    enable_prefix_caching: bool | None = None
    enable_chunked_prefill: bool | None = None
    scheduling_policy: str = "fcfs"
    """fcfs; priority: requests of a lower priority number first; fair: adapters share equally."""

    enable_lora: bool = False
    max_loras: int | None = None
    """Adapters in one batch; None is no limit.  Nothing is reserved for them."""
    max_lora_rank: int | None = None
    max_cpu_loras: int | None = None
    """Adapters kept in host memory."""

    device: str = "auto"
    """auto, cpu or cuda."""
    cpu_isa: str = "auto"
    """The instruction set of the CPU's kernels; auto is the best there is."""
    num_threads: int | None = None

    # Accepted without an effect: quire runs no code of a model and has nothing to compile or swap.
    trust_remote_code: bool = False
    enforce_eager: bool = False
    swap_space: float = 0
    compilation_config: Any = None
    disable_custom_all_reduce: bool = False
    disable_log_stats: bool = False
    distributed_executor_backend: Any = None
    max_seq_len_to_capture: int | None = None
    served_model_name: Any = None

    # Accepted with one value; any other raises ValueError.
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    cpu_offload_gb: float = 0
    speculative_config: Any = None
    hf_overrides: Any = None
    skip_tokenizer_init: bool = False

    def __post_init__(self) -> None:
        for name, (only, reason) in _FIXED.items():
            value = getattr(self, name)
            if value != only:
                raise ValueError(f"{name} must be {only!r}, got {value!r}: {reason}")
        for name in _LOWEST_IS_ONE:
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.tokenizer_mode not in ("auto", "fast", "hf"):
            raise ValueError(f"tokenizer_mode must be auto, got {self.tokenizer_mode!r}")
        if self.generation_config not in ("auto", "vllm"):
            raise ValueError(
                f"generation_config must be auto or vllm, got {self.generation_config!r}"
            )

    def native_options(self) -> _core.LLMOptions:
        """Raises FileNotFoundError if the model is not there, TypeError and ValueError for
        arguments that cannot be right."""
        options = _core.LLMOptions()
        options.model = _find(self.model, self.revision)
        if self.tokenizer is not None:
            options.tokenizer = _find(self.tokenizer, self.tokenizer_revision)
        dtype = str(self.dtype).removeprefix("torch.")
        options.dtype = _DTYPES.get(dtype, dtype)
        if self.max_model_len not in (None, -1, "auto"):
            assign(options, "max_model_len", self.max_model_len, "int | None")
        for field in fields(self):
            value = getattr(self, field.name)
            is_direct = field.name not in ("model", "tokenizer", "dtype", "max_model_len")
            if is_direct and value is not None and hasattr(options, field.name):
                assign(options, field.name, value, str(field.type))
        return options


# The same arguments; AsyncLLM's users know them by this name.
AsyncEngineArgs = EngineArgs


def _find(model: str | os.PathLike[str], revision: str | None) -> str:
    name = os.fspath(model)
    if revision is not None and not Path(name).is_dir():
        name = f"{name}@{revision}"
    try:
        return _core.find_model(name)
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from None
