"""The engine of quire; use the package quire."""

from collections.abc import Callable, Sequence

class RepetitionDetection:
    def __init__(self) -> None: ...
    max_pattern_size: int
    min_pattern_size: int
    min_count: int

class SamplingParams:
    def __init__(self) -> None: ...
    def check(self) -> None:
        """Raises ValueError naming the field that is out of range."""
    n: int
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int | None
    stop: list[str]
    stop_token_ids: list[int]
    include_stop_str_in_output: bool
    ignore_eos: bool
    max_tokens: int | None
    min_tokens: int
    logprobs: int | None
    prompt_logprobs: int | None
    logit_bias: dict[int, float]
    allowed_token_ids: list[int]
    bad_words: list[str]
    detokenize: bool
    skip_special_tokens: bool
    spaces_between_special_tokens: bool
    repetition_detection: RepetitionDetection

class LoRARequest:
    def __init__(self, lora_name: str, lora_int_id: int, lora_path: str) -> None: ...

class GenerationRequest:
    def __init__(
        self,
        prompt: str | Sequence[int],
        params: SamplingParams,
        lora_request: LoRARequest | None,
        request_id: str,
        priority: int,
        cache_salt: str,
        add_special_tokens: bool,
    ) -> None: ...

class ChatPrompt:
    def __init__(self) -> None: ...
    messages: str
    tools: str
    template_kwargs: str
    chat_template: str
    add_generation_prompt: bool
    continue_final_message: bool

class LLMOptions:
    def __init__(self) -> None: ...
    model: str
    tokenizer: str
    dtype: str
    load_format: str
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    block_size: int
    kv_cache_memory_bytes: int
    gpu_memory_utilization: float
    enable_prefix_caching: bool
    enable_chunked_prefill: bool
    scheduling_policy: str
    seed: int
    device: str
    cpu_isa: str
    num_threads: int
    enable_lora: bool
    max_loras: int
    max_lora_rank: int
    max_cpu_loras: int

class Logprob:
    @property
    def token_id(self) -> int: ...
    @property
    def logprob(self) -> float: ...
    @property
    def rank(self) -> int: ...
    @property
    def decoded_token(self) -> str: ...

class CompletionOutput:
    @property
    def index(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def token_ids(self) -> list[int]: ...
    @property
    def cumulative_logprob(self) -> float: ...
    @property
    def logprobs(self) -> list[list[Logprob]]: ...
    @property
    def finish_reason(self) -> str | None: ...
    @property
    def stop_reason(self) -> int | str | None: ...

class RequestMetrics:
    @property
    def arrival_time_s(self) -> float: ...
    @property
    def scheduled_time_s(self) -> float: ...
    @property
    def first_token_time_s(self) -> float: ...
    @property
    def last_token_time_s(self) -> float: ...
    @property
    def num_preemptions(self) -> int: ...

class RequestOutput:
    @property
    def request_id(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def prompt_token_ids(self) -> list[int]: ...
    @property
    def prompt_logprobs(self) -> list[list[Logprob]]: ...
    @property
    def outputs(self) -> list[CompletionOutput]: ...
    @property
    def finished(self) -> bool: ...
    @property
    def num_cached_tokens(self) -> int: ...
    @property
    def metrics(self) -> RequestMetrics: ...

class ModelInfo:
    @property
    def model_path(self) -> str: ...
    @property
    def architecture(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def max_model_len(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def eos_token_ids(self) -> list[int]: ...
    @property
    def bos_token(self) -> str: ...
    @property
    def eos_token(self) -> str: ...
    @property
    def pad_token(self) -> str: ...
    @property
    def unk_token(self) -> str: ...
    @property
    def chat_template(self) -> str: ...

class RequestStream:
    def add(self, request: GenerationRequest) -> str: ...
    def poll(self, timeout_s: float) -> list[RequestOutput]: ...
    def abort(self, request_id: str) -> None: ...
    def wake(self) -> None: ...
    @property
    def num_unfinished(self) -> int: ...

class LLM:
    def __init__(self, options: LLMOptions) -> None: ...
    def generate(
        self,
        requests: Sequence[GenerationRequest],
        on_finished: Callable[[RequestOutput], object] | None,
    ) -> list[RequestOutput]:
        """Signal handlers run meanwhile; what they raise ends the call."""
    def stream(self) -> RequestStream: ...
    def apply_chat_template(self, chat: ChatPrompt) -> str: ...
    def encode(self, text: str, add_special_tokens: bool) -> list[int]: ...
    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool) -> str: ...
    def id_to_token(self, token_id: int) -> str: ...
    def token_to_id(self, token: str) -> int: ...
    @property
    def tokenizer_size(self) -> int: ...
    @property
    def info(self) -> ModelInfo: ...
    def default_sampling_params(self) -> SamplingParams: ...
    def reset_prefix_cache(self) -> None: ...

def find_model(model: str) -> str:
    """The directory of a model; raises RuntimeError saying where it looked."""
