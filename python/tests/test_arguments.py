"""Wrong arguments raise what a Python programmer expects, and name the argument."""

import copy
import math
import pickle

import pytest

from quire import LLM, EngineArgs, LoRARequest, RepetitionDetectionParams, SamplingParams
from quire.lora.request import LoRARequest as FromItsModule


@pytest.mark.parametrize("name, value", [
    ("n", 0), ("temperature", -1), ("temperature", 3), ("temperature", math.nan), ("top_p", 0), ("top_p", 1.5),
    ("top_k", -2), ("min_p", 2), ("presence_penalty", 3), ("frequency_penalty", -3),
    ("repetition_penalty", 0), ("max_tokens", 0), ("min_tokens", -1), ("seed", -2), ("stop", ""),
    ("logprobs", -2), ("prompt_logprobs", -2), ("allowed_token_ids", []), ("bad_words", [" "]),
    ("stop_token_ids", [-1]), ("n", 2**40),
])
def test_values_out_of_range(name, value):
    with pytest.raises(ValueError, match=name):
        SamplingParams(**{name: value})


@pytest.mark.parametrize("name, value", [
    ("n", 1.5), ("temperature", "hot"), ("max_tokens", "16"), ("stop", 7), ("stop", [7]),
    ("stop_token_ids", ["a"]), ("ignore_eos", "yes"), ("seed", "x"), ("logprobs", 1.5),
    ("output_kind", "delta"), ("bad_words", "word"), ("nonsense", 1),
])
def test_values_of_the_wrong_type(name, value):
    with pytest.raises(TypeError, match=name):
        SamplingParams(**{name: value})


def test_sampling_params_are_values():
    params = SamplingParams(temperature=0.5, stop="x", logit_bias={"5": 1.0}, seed=-1,
                            repetition_detection=RepetitionDetectionParams(4))
    assert params.stop == ["x"] and params.logit_bias == {5: 1.0} and params.seed is None
    assert params == params.clone() == copy.copy(params) == pickle.loads(pickle.dumps(params))
    assert params != SamplingParams(temperature=0.6)
    assert eval(repr(SamplingParams(n=2, output_kind=params.output_kind)).replace(
        "<RequestOutputKind.CUMULATIVE: 0>", "params.output_kind")) == SamplingParams(n=2)
    assert SamplingParams(2, 0.1).presence_penalty == 0.1


def test_parameters_are_checked_again_when_they_are_used(llm):
    params = SamplingParams()
    params.top_p = 0
    with pytest.raises(ValueError, match="top_p"):
        llm.generate("Once", params)


@pytest.mark.parametrize("name, value, error", [
    ("tensor_parallel_size", 2, ValueError), ("pipeline_parallel_size", 2, ValueError),
    ("quantization", "awq", ValueError), ("max_num_seqs", 0, ValueError),
    ("max_num_seqs", "many", TypeError), ("max_model_len", 10**6, ValueError),
    ("max_model_len", "long", TypeError), ("gpu_memory_utilization", 1.5, ValueError),
    ("gpu_memory_utilization", "all", TypeError), ("enable_prefix_caching", "yes", TypeError),
    ("scheduling_policy", "random", ValueError), ("max_num_batched_tokens", 1, ValueError),
    ("dtype", "int3", ValueError), ("device", "abacus", ValueError), ("load_format", "pt", ValueError),
    ("nonsense", 1, TypeError),
])
def test_engine_arguments_are_named(name, value, error):
    with pytest.raises(error, match=name):
        LLM(model="quire-demo", **{name: value})


def test_arguments_without_an_effect_are_accepted():
    args = EngineArgs(model="quire-demo", trust_remote_code=True, enforce_eager=True, swap_space=4,
                      disable_log_stats=True, distributed_executor_backend="mp")
    assert args.native_options().model.endswith("models/quire-demo")


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nobody/nothing.*looked in"):
        LLM(model="nobody/nothing")
    with pytest.raises(FileNotFoundError, match="config.json"):
        LLM(model=tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RuntimeError, match=str(tmp_path)):
        LLM(model=str(tmp_path))


@pytest.mark.parametrize("prompts, error, words", [
    ("", ValueError, "prompt"), ([[]], ValueError, "prompt"), (None, TypeError, "prompts"),
    (7, TypeError, "prompts"), (["a", 7], TypeError, "prompt"), ([["a", "b"]], TypeError, "token ids"),
    ([[10**6]], ValueError, "1000000"), ([[2**40]], ValueError, "out of range"),
    ({"text": "a"}, ValueError, "text"), ({}, ValueError, "prompt_token_ids"),
    ({"prompt": 7}, TypeError, "prompt"), ([5] * 2000, ValueError, "maximum context length"),
])
def test_prompts_that_cannot_be(llm, prompts, error, words):
    with pytest.raises(error, match=words):
        llm.generate(prompts)


def test_lists_must_have_the_length_of_the_prompts(llm):
    with pytest.raises(ValueError, match="sampling_params has 2 entries for 1 prompts"):
        llm.generate("a", [SamplingParams()] * 2)
    with pytest.raises(ValueError, match="lora_request has 1 entries for 2 prompts"):
        llm.generate(["a", "b"], lora_request=[None])
    with pytest.raises(TypeError, match="sampling_params"):
        llm.generate("a", {"temperature": 0})
    with pytest.raises(TypeError, match="lora_request"):
        llm.generate("a", lora_request="adapter")
    with pytest.raises(ValueError, match="priority"):
        llm.generate("a", priority=[1])
    with pytest.raises(ValueError, match="messages"):
        llm.chat([])
    with pytest.raises(ValueError, match="role"):
        llm.chat([{"content": "a"}])


def test_lora_requests():
    request = LoRARequest("sql", 1, "/adapters/sql")
    assert FromItsModule is LoRARequest
    assert (request.name, request.adapter_id, request.path) == ("sql", 1, "/adapters/sql")
    assert request == LoRARequest(lora_name="sql", lora_int_id=1, lora_path="/adapters/sql")
    assert len({request, LoRARequest("sql", 1, "/adapters/sql")}) == 1
    for arguments, error in ((("", 1, "x"), ValueError), (("a", 0, "x"), ValueError),
                             ((1, 1, "x"), TypeError), (("a", "1", "x"), TypeError)):
        with pytest.raises(error):
            LoRARequest(*arguments)
