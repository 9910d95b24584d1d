"""LLM.generate and LLM.chat: prompts in all their forms, and what comes back."""

import pytest

from quire import LLM, LoRARequest, SamplingParams, TextPrompt, TokensPrompt


def test_a_prompt_has_the_same_result_in_every_form(llm, greedy):
    ids = llm.get_tokenizer().encode("Once upon a time")
    forms = ["Once upon a time", ids, TextPrompt(prompt="Once upon a time"),
             TokensPrompt(prompt_token_ids=ids), {"prompt_token_ids": ids, "prompt": "known"}]
    outputs = llm.generate(forms, greedy)
    assert len({output.outputs[0].text for output in outputs}) == 1
    assert [output.prompt for output in outputs] == [
        "Once upon a time", None, "Once upon a time", None, "known"]
    assert all(output.prompt_token_ids == ids for output in outputs)
    assert llm.generate(ids, greedy)[0].outputs[0].text == outputs[0].outputs[0].text
    assert llm.generate("Once upon a time", greedy)[0].outputs[0].text == outputs[0].outputs[0].text
    assert llm.generate([], greedy) == []


def test_greedy_output_does_not_depend_on_the_batch(llm, greedy):
    prompts = [f"The {noun} was" for noun in ("sea", "house", "man", "night", "road")]
    together = llm.generate(prompts, greedy)
    for prompt, output in zip(prompts, together):
        assert output.prompt == prompt
        assert output.outputs == llm.generate(prompt, greedy)[0].outputs


def test_a_seed_repeats_and_another_does_not(llm):
    def sample(seed):
        params = SamplingParams(temperature=1.0, max_tokens=24, seed=seed, n=3)
        return [completion.token_ids for completion in llm.generate("Once", params)[0].outputs]

    first = sample(42)
    assert sample(42) == first
    assert sample(43) != first
    assert len({tuple(ids) for ids in first}) == 3


def test_each_prompt_may_have_its_own_parameters(llm):
    lengths = [3, 7, 5]
    params = [SamplingParams(temperature=0, max_tokens=n, ignore_eos=True) for n in lengths]
    outputs = llm.generate(["Once"] * 3, params)
    assert [len(output.outputs[0].token_ids) for output in outputs] == lengths


def test_fields_of_an_output(llm):
    params = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True, logprobs=2, prompt_logprobs=1)
    output = llm.generate("Some words to score", params)[0]
    completion = output.outputs[0]
    assert output.finished and completion.finished()
    assert (completion.index, completion.finish_reason, completion.stop_reason) == (0, "length", None)
    assert len(completion.logprobs) == len(completion.token_ids) == 6
    total = 0.0
    for token_id, position in zip(completion.token_ids, completion.logprobs):
        assert len(position) == 2 and position[token_id].rank == 1
        total += position[token_id].logprob
    assert completion.cumulative_logprob == pytest.approx(total)
    assert "".join(p[i].decoded_token for i, p in zip(completion.token_ids, completion.logprobs)) == completion.text
    assert output.prompt_logprobs[0] is None
    assert len(output.prompt_logprobs) == len(output.prompt_token_ids)
    for token_id, position in zip(output.prompt_token_ids[1:], output.prompt_logprobs[1:]):
        assert token_id in position
    metrics = output.metrics
    assert metrics.arrival_time <= metrics.first_token_time <= metrics.finished_time
    assert metrics.first_token_latency > 0 and metrics.time_in_queue >= 0
    assert isinstance(output.num_cached_tokens, int)
    assert llm.generate("x", SamplingParams(max_tokens=1))[0].outputs[0].logprobs is None


def test_what_stopped_a_request(llm, greedy):
    text = llm.generate("Once", greedy)[0].outputs[0].text
    word = text.split()[3]
    stopped = llm.generate("Once", SamplingParams(temperature=0, stop=word))[0].outputs[0]
    assert (stopped.finish_reason, stopped.stop_reason) == ("stop", word)
    assert stopped.text == text[:text.index(word)]
    token = llm.generate("Once", greedy)[0].outputs[0].token_ids[2]
    stopped = llm.generate("Once", SamplingParams(temperature=0, stop_token_ids=[token]))[0].outputs[0]
    assert (stopped.finish_reason, stopped.stop_reason) == ("stop", token)


def test_chat_answers_by_the_template(llm):
    params = SamplingParams(temperature=0, max_tokens=30)
    conversations = [[{"role": "user", "content": f"What is {a} + {b}?"}] for a, b in ((12, 30), (20, 5))]
    outputs = llm.chat(conversations, params)
    assert "42" in outputs[0].outputs[0].text and "25" in outputs[1].outputs[0].text
    assert outputs[0].outputs[0].finish_reason == "stop"
    tokenizer = llm.get_tokenizer()
    assert outputs[0].prompt == tokenizer.apply_chat_template(
        conversations[0], tokenize=False, add_generation_prompt=True)
    one = llm.chat(conversations[0], params)
    assert [output.outputs for output in one] == [outputs[0].outputs]
    begun = [*conversations[0], {"role": "assistant", "content": "The answer"}]
    continued = llm.chat(begun, params, add_generation_prompt=False, continue_final_message=True)
    assert continued[0].prompt.endswith("The answer")


def test_chat_shows_tools_to_the_template(llm):
    tool = {"type": "function", "function": {
        "name": "get_weather", "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
    output = llm.chat([{"role": "user", "content": "What is the weather in Paris?"}],
                      SamplingParams(temperature=0, max_tokens=60), tools=[tool])[0]
    assert "get_weather" in output.prompt
    assert "<tool_call>" in output.outputs[0].text and "Paris" in output.outputs[0].text


def test_the_models_recommendation_holds_without_parameters(llm):
    params = llm.get_default_sampling_params()
    assert (params.temperature, params.top_p) == (0.6, 0.9)
    assert len(llm.generate("Once")[0].outputs[0].token_ids) <= 16


def test_a_bar_of_the_callers_own(llm, greedy):
    calls = []

    class Bar:
        def __init__(self, total, desc):
            calls.append(("total", total))

        def update(self, count):
            calls.append(("update", count))

        def close(self):
            calls.append(("close",))

    llm.generate(["Once", "Twice"], greedy, use_tqdm=Bar)
    assert calls == [("total", 2), ("update", 1), ("update", 1), ("close",)]


def test_an_error_in_the_bar_ends_the_call_and_no_more(llm, greedy):
    class Bar:
        def __init__(self, total, desc):
            pass

        def update(self, count):
            raise LookupError("the bar broke")

        def close(self):
            pass

    with pytest.raises(LookupError, match="the bar broke"):
        llm.generate(["Once", "Twice"], greedy, use_tqdm=Bar)
    assert llm.generate("Once", greedy)[0].finished


def test_a_shut_down_model_says_so():
    with LLM(model="quire-demo", max_model_len=64, max_num_seqs=2) as small:
        assert small.generate("Once", SamplingParams(max_tokens=2))[0].finished
    with pytest.raises(RuntimeError, match="shut down"):
        small.generate("Once")
    small.shutdown()


def test_an_adapter_needs_enable_lora(llm):
    with pytest.raises(ValueError, match="lora_request needs enable_lora"):
        llm.generate("Once", lora_request=LoRARequest("a", 1, "/nowhere"))
