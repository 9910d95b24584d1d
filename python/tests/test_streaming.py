"""AsyncLLM and LLMEngine: outputs as they come."""

import asyncio

import pytest

from quire import AsyncLLM, AsyncLLMEngine, AsyncEngineArgs, EngineArgs, LLMEngine, RequestOutputKind, SamplingParams

LONG = SamplingParams(temperature=0, max_tokens=900, ignore_eos=True)


@pytest.fixture(scope="module")
def async_llm():
    engine = AsyncLLMEngine.from_engine_args(AsyncEngineArgs(model="quire-demo", max_model_len=1024))
    yield engine
    engine.shutdown()


@pytest.fixture(scope="module")
def engine():
    engine = LLMEngine.from_engine_args(EngineArgs(model="quire-demo", max_model_len=1024))
    yield engine
    engine.shutdown()


def params(kind, **others):
    return SamplingParams(temperature=0, max_tokens=20, ignore_eos=True, output_kind=kind, **others)


async def collect(async_llm, *arguments, **keywords):
    return [output async for output in async_llm.generate(*arguments, **keywords)]


def test_a_stream_gives_what_generate_gives(llm, async_llm):
    whole = llm.generate("Once upon", params(RequestOutputKind.FINAL_ONLY, logprobs=1))[0]
    cumulative = asyncio.run(collect(async_llm, "Once upon", params(RequestOutputKind.CUMULATIVE, logprobs=1), "a"))
    assert len(cumulative) > 1 and [output.finished for output in cumulative][-2:] == [False, True]
    assert cumulative[-1].outputs == whole.outputs
    texts = [output.outputs[0].text for output in cumulative]
    assert all(later.startswith(earlier) for earlier, later in zip(texts, texts[1:]))
    assert all(output.request_id == "a" and output.prompt == "Once upon" for output in cumulative)
    deltas = asyncio.run(collect(async_llm, "Once upon", params(RequestOutputKind.DELTA), "b"))
    assert "".join(output.outputs[0].text for output in deltas) == whole.outputs[0].text
    assert sum((output.outputs[0].token_ids for output in deltas), []) == whole.outputs[0].token_ids
    assert all(output.prompt_token_ids == whole.prompt_token_ids for output in deltas)
    final = asyncio.run(collect(async_llm, "Once upon", params(RequestOutputKind.FINAL_ONLY), "c"))
    assert [output.outputs[0].text for output in final] == [whole.outputs[0].text]


def test_many_streams_at_once(llm, async_llm):
    prompts = [f"The {noun}" for noun in ("sea", "house", "man", "night")] * 5
    expected = {output.prompt: output.outputs[0].text
                for output in llm.generate(prompts, params(RequestOutputKind.FINAL_ONLY))}

    async def main():
        return await asyncio.gather(*(
            collect(async_llm, prompt, params(RequestOutputKind.CUMULATIVE)) for prompt in prompts))

    for prompt, outputs in zip(prompts, asyncio.run(main())):
        assert outputs[-1].outputs[0].text == expected[prompt]


def test_several_completions_of_one_prompt(async_llm):
    sampled = SamplingParams(n=3, seed=1, max_tokens=12, ignore_eos=True)
    outputs = asyncio.run(collect(async_llm, "Once", sampled))
    assert [completion.index for completion in outputs[-1].outputs] == [0, 1, 2]
    assert all(len(completion.token_ids) == 12 for completion in outputs[-1].outputs)


def test_abort_ends_a_stream(async_llm):
    async def main():
        outputs = []
        async for output in async_llm.generate("Once", LONG, "aborted"):
            outputs.append(output)
            if len(outputs) == 2:
                await async_llm.abort("aborted")
        return outputs

    last = asyncio.run(main())[-1]
    assert last.finished and last.outputs[0].finish_reason == "abort"
    assert 0 < len(last.outputs[0].token_ids) < 900


def test_leaving_the_loop_ends_the_request(async_llm):
    async def main():
        generator = async_llm.generate("Once", LONG, "left")
        await generator.__anext__()
        with pytest.raises(ValueError, match="request_id left"):
            await async_llm.generate("Once", LONG, "left").__anext__()
        await generator.aclose()
        task = asyncio.create_task(collect(async_llm, "Once", LONG))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    for _ in range(100):
        if async_llm._delivery.num_unfinished() == 0:
            return
        asyncio.run(asyncio.sleep(0.05))
    pytest.fail("a request nobody waits for goes on")


def test_errors_of_a_stream(async_llm):
    with pytest.raises(ValueError, match="lora_request"):
        from quire import LoRARequest
        asyncio.run(collect(async_llm, "Once", LONG, lora_request=LoRARequest("a", 1, "/a")))
    with pytest.raises(ValueError, match="prompt"):
        asyncio.run(collect(async_llm, "", LONG))
    with pytest.raises(TypeError, match="sampling_params"):
        asyncio.run(collect(async_llm, "Once", "greedy"))


def test_shutdown_ends_streams():
    async def main():
        engine = AsyncLLM(model="quire-demo", max_model_len=1024)
        outputs = engine.generate("Once", LONG)
        await outputs.__anext__()
        engine.shutdown()
        with pytest.raises(RuntimeError, match="shut down"):
            async for _ in outputs:
                pass
        with pytest.raises(RuntimeError, match="shut down"):
            await collect(engine, "Once")

    asyncio.run(main())


def test_steps_of_an_engine(llm, engine):
    expected = llm.generate("Once", params(RequestOutputKind.FINAL_ONLY))[0].outputs[0]
    engine.add_request("cumulative", "Once", params(RequestOutputKind.CUMULATIVE))
    engine.add_request("final", "Once", params(RequestOutputKind.FINAL_ONLY))
    with pytest.raises(ValueError, match="request_id final"):
        engine.add_request("final", "Once", params(RequestOutputKind.FINAL_ONLY))
    assert engine.get_num_unfinished_requests() == 2
    outputs = []
    while engine.has_unfinished_requests():
        outputs += engine.step()
    assert engine.step() == []
    by_id = {output.request_id: output for output in outputs}
    assert by_id["cumulative"].outputs == by_id["final"].outputs == [expected]
    assert sum(output.request_id == "final" for output in outputs) == 1
    assert sum(output.request_id == "cumulative" for output in outputs) > 1


def test_abort_of_an_engine(engine):
    engine.add_request("a", "Once", LONG)
    engine.add_request("b", "Once", params(RequestOutputKind.CUMULATIVE))
    engine.abort_request(["a", "unknown"])
    last = {}
    while engine.has_unfinished_requests():
        last.update({output.request_id: output for output in engine.step()})
    assert last["a"].outputs[0].finish_reason == "abort"
    assert last["b"].outputs[0].finish_reason == "length"
