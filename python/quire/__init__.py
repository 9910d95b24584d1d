"""quire: high-throughput LLM inference in this process, with the names of vLLM's Python API.

    from quire import LLM, SamplingParams

    llm = LLM(model="quire-demo")
    for output in llm.generate(["Once upon a time"], SamplingParams(max_tokens=40)):
        print(output.outputs[0].text)
"""

from typing import TYPE_CHECKING, Any

from quire.engine_args import AsyncEngineArgs, EngineArgs
from quire.inputs import PromptType, TextPrompt, TokensPrompt
from quire.llm import LLM
from quire.llm_engine import LLMEngine
from quire.lora.request import LoRARequest
from quire.outputs import CompletionOutput, Logprob, RequestMetrics, RequestOutput
from quire.sampling_params import RepetitionDetectionParams, RequestOutputKind, SamplingParams
from quire.tokenizer import Tokenizer

if TYPE_CHECKING:
    from quire.async_llm import AsyncLLM, AsyncLLMEngine

    __version__: str

__all__ = [
    "LLM",
    "AsyncEngineArgs",
    "AsyncLLM",
    "AsyncLLMEngine",
    "CompletionOutput",
    "EngineArgs",
    "LLMEngine",
    "LoRARequest",
    "Logprob",
    "PromptType",
    "RepetitionDetectionParams",
    "RequestMetrics",
    "RequestOutput",
    "RequestOutputKind",
    "SamplingParams",
    "TextPrompt",
    "TokensPrompt",
    "Tokenizer",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Loads what most programs do not need when it is asked for: asyncio, package metadata."""
    if name in ("AsyncLLM", "AsyncLLMEngine"):
        from quire import async_llm

        return getattr(async_llm, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("quire")
    raise AttributeError(f"module 'quire' has no attribute {name!r}")
