"""The official openai client against a running server, with any chat model:

    pytest tests/server/test_openai_client.py --base-url http://127.0.0.1:8000/v1 --model quire-demo
"""

import concurrent.futures
import json
import time
import urllib.request

import openai
import pytest

PROMPT = "Once upon a time there was"
MESSAGES = [{"role": "user", "content": "Tell me something about rivers."}]


@pytest.fixture(scope="session")
def base_url(request):
    return request.config.getoption("--base-url")


@pytest.fixture(scope="session")
def client(request, base_url):
    return openai.OpenAI(base_url=base_url, api_key=request.config.getoption("--api-key"), max_retries=0, timeout=60)


@pytest.fixture(scope="session")
def model(request, client):
    return request.config.getoption("--model") or client.models.list().data[0].id


@pytest.fixture(scope="session")
def complete(client, model):
    def call(prompt=PROMPT, extra=None, **fields):
        return client.completions.create(model=model, prompt=prompt, extra_body=extra or {}, **fields)

    return call


@pytest.fixture(scope="session")
def chat(client, model):
    def call(messages=None, extra=None, **fields):
        return client.chat.completions.create(
            model=model, messages=messages or MESSAGES, extra_body=extra or {}, **fields)

    return call


def check_usage(usage):
    assert usage.prompt_tokens > 0 and usage.completion_tokens >= 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def root_get(base_url, path):
    with urllib.request.urlopen(base_url.removesuffix("/v1") + path, timeout=10) as response:
        return response.read().decode()


def metric(base_url, name):
    for line in root_get(base_url, "/metrics").splitlines():
        if line.startswith(name + "{"):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no metric {name}")


# ---- models ----


def test_models_are_listed_and_retrieved(client, model):
    cards = client.models.list().data
    assert model in [card.id for card in cards]
    card = client.models.retrieve(model)
    assert card.object == "model" and isinstance(card.created, int) and card.owned_by


def test_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no/such-model")
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="no-such-model", messages=MESSAGES)
    assert error.value.code == "model_not_found" and error.value.param == "model"


# ---- chat ----


def test_chat_has_the_documented_shape(chat, model):
    answer = chat(max_tokens=8)
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-") and answer.model == model
    assert abs(answer.created - time.time()) < 60
    choice = answer.choices[0]
    assert choice.index == 0 and choice.message.role == "assistant" and isinstance(choice.message.content, str)
    assert choice.message.tool_calls is None and choice.message.refusal is None
    assert choice.finish_reason in ("stop", "length")
    check_usage(answer.usage)


def test_chat_stops_at_max_tokens(chat):
    for field in ("max_tokens", "max_completion_tokens"):
        answer = chat(extra={"ignore_eos": True}, **{field: 5})
        assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 5


def test_max_completion_tokens_wins(chat):
    answer = chat(max_tokens=9, max_completion_tokens=4, extra={"ignore_eos": True})
    assert answer.usage.completion_tokens == 4


def test_greedy_chat_is_reproducible(chat):
    first, second = (chat(max_tokens=24, temperature=0) for _ in range(2))
    assert first.choices[0].message.content == second.choices[0].message.content


def test_seeded_chat_is_reproducible(chat):
    first, second = (chat(max_tokens=24, temperature=1, seed=17) for _ in range(2))
    assert first.choices[0].message.content == second.choices[0].message.content


def test_different_seeds_differ(chat):
    contents = {chat(max_tokens=24, temperature=1.5, seed=seed).choices[0].message.content for seed in range(6)}
    assert len(contents) > 1


def test_chat_stream_equals_the_whole_answer(chat):
    fields = {"max_tokens": 32, "temperature": 1, "seed": 3}
    whole = chat(**fields).choices[0]
    content, finishes, roles, ids = "", [], [], set()
    for chunk in chat(stream=True, **fields):
        assert chunk.object == "chat.completion.chunk" and chunk.usage is None
        ids.add((chunk.id, chunk.created, chunk.model))
        delta = chunk.choices[0].delta
        assert not finishes
        if delta.role:
            roles.append(delta.role)
        content += delta.content or ""
        if chunk.choices[0].finish_reason:
            finishes.append(chunk.choices[0].finish_reason)
    assert content == whole.message.content and finishes == [whole.finish_reason]
    assert roles == ["assistant"] and len(ids) == 1


def test_chat_stream_reports_usage_on_request(chat):
    fields = {"max_tokens": 12, "temperature": 0}
    chunks = list(chat(stream=True, stream_options={"include_usage": True}, **fields))
    assert chunks[-1].choices == [] and all(chunk.usage is None for chunk in chunks[:-1])
    check_usage(chunks[-1].usage)
    whole = chat(**fields).usage
    assert (whole.prompt_tokens, whole.completion_tokens) == (
        chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens)


def test_continuous_usage_counts_up(chat):
    options = {"include_usage": True, "continuous_usage_stats": True}
    counts = [chunk.usage.completion_tokens for chunk in
              chat(stream=True, stream_options=options, max_tokens=10, temperature=0) if chunk.usage]
    assert counts == sorted(counts) and counts[-1] > 0


def test_chat_n_gives_indexed_choices(chat):
    answer = chat(n=3, max_tokens=6, temperature=1, seed=1, extra={"ignore_eos": True})
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.completion_tokens == 18


def test_chat_n_streams_every_choice(chat):
    fields = {"n": 3, "max_tokens": 16, "temperature": 1, "seed": 2}
    whole = chat(**fields)
    contents, finishes = ["", "", ""], [0, 0, 0]
    for chunk in chat(stream=True, **fields):
        for choice in chunk.choices:
            contents[choice.index] += choice.delta.content or ""
            finishes[choice.index] += choice.finish_reason is not None
    assert contents == [choice.message.content for choice in whole.choices] and finishes == [1, 1, 1]


def test_chat_logprobs(chat):
    answer = chat(max_tokens=5, temperature=0, logprobs=True, top_logprobs=3, extra={"ignore_eos": True})
    entries = answer.choices[0].logprobs.content
    assert len(entries) == 5
    for entry in entries:
        assert -9999 <= entry.logprob <= 0 and len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob == max(top.logprob for top in entry.top_logprobs)
        assert entry.logprob == pytest.approx(entry.top_logprobs[0].logprob, abs=1e-4), "greedy takes the most likely"
    text = b"".join(bytes(entry.bytes) for entry in entries).decode(errors="replace")
    assert answer.choices[0].message.content.rstrip("\ufffd") in text


def test_chat_logprobs_without_top(chat):
    entries = chat(max_tokens=3, logprobs=True).choices[0].logprobs.content
    assert entries and all(entry.top_logprobs == [] for entry in entries)


def test_chat_logprobs_stream_like_the_whole(chat):
    fields = {"max_tokens": 12, "temperature": 0, "logprobs": True, "top_logprobs": 2}
    whole = [entry.token for entry in chat(**fields).choices[0].logprobs.content]
    streamed = []
    for chunk in chat(stream=True, **fields):
        if chunk.choices[0].logprobs:
            streamed += [entry.token for entry in chunk.choices[0].logprobs.content]
    assert streamed == whole


def test_message_forms_are_accepted(chat):
    chat(max_tokens=2, messages=[
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Go on.", "name": "ann"}])


def test_parts_equal_a_string(chat):
    whole = chat(max_tokens=8, temperature=0, messages=[{"role": "user", "content": "a\nb"}])
    parts = chat(max_tokens=8, temperature=0, messages=[
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])
    assert whole.choices[0].message.content == parts.choices[0].message.content
    assert whole.usage.prompt_tokens == parts.usage.prompt_tokens


def test_tools_are_accepted(chat):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    for choice in ("auto", "none"):
        assert chat(max_tokens=3, tools=tools, tool_choice=choice).choices[0].message.role == "assistant"


def test_unknown_fields_are_ignored(chat):
    chat(max_tokens=2, user="u", metadata={"a": "b"}, store=False, extra={"some_new_field": {"x": 1}})


def test_chat_stop_string(chat):
    fields = {"max_tokens": 40, "temperature": 0, "extra": {"ignore_eos": True}}
    text = chat(**fields).choices[0].message.content
    stop = text[len(text) // 2:len(text) // 2 + 4]
    answer = chat(stop=[stop], **fields).choices[0]
    assert answer.message.content == text[:text.index(stop)] and answer.finish_reason == "stop"
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chat(stream=True, stop=stop, **fields))
    assert streamed == answer.message.content


# ---- completions ----


def test_completion_has_the_documented_shape(complete):
    answer = complete()
    assert answer.object == "text_completion" and answer.id.startswith("cmpl-")
    assert answer.usage.completion_tokens <= 16, "the default of max_tokens"
    check_usage(answer.usage)


def test_completion_stream_equals_the_whole(complete):
    fields = {"max_tokens": 32, "temperature": 1, "seed": 5}
    whole = complete(**fields).choices[0]
    chunks = list(complete(stream=True, **fields))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.text
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == whole.finish_reason


def test_completion_takes_many_prompts(complete):
    fields = {"max_tokens": 8, "temperature": 0}
    together = complete(prompt=[PROMPT, "The sea"], n=1, **fields)
    assert [choice.index for choice in together.choices] == [0, 1]
    assert together.choices[0].text == complete(**fields).choices[0].text
    assert together.choices[1].text == complete(prompt="The sea", **fields).choices[0].text


def test_completion_takes_token_ids(complete, base_url, model):
    body = json.dumps({"model": model, "prompt": PROMPT}).encode()
    request = urllib.request.Request(
        base_url.removesuffix("/v1") + "/tokenize", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        tokens = json.load(response)["tokens"]
    fields = {"max_tokens": 8, "temperature": 0}
    text = complete(**fields).choices[0].text
    assert complete(prompt=tokens, **fields).choices[0].text == text
    assert complete(prompt=[tokens, tokens], **fields).choices[1].text == text


def test_completion_echo(complete):
    plain = complete(max_tokens=6, temperature=0)
    echoed = complete(max_tokens=6, temperature=0, echo=True)
    assert echoed.choices[0].text == PROMPT + plain.choices[0].text


def test_completion_logprobs(complete):
    answer = complete(max_tokens=5, temperature=0, logprobs=2, extra={"ignore_eos": True})
    logprobs = answer.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) == 5
    assert all(2 <= len(top) <= 3 for top in logprobs.top_logprobs)
    assert logprobs.text_offset[0] == 0 and logprobs.text_offset == sorted(logprobs.text_offset)


def test_completion_scores_a_prompt(complete):
    answer = complete(max_tokens=0, echo=True, logprobs=1)
    logprobs = answer.choices[0].logprobs
    assert answer.choices[0].text == PROMPT and answer.usage.completion_tokens == 0
    assert len(logprobs.tokens) == answer.usage.prompt_tokens
    assert logprobs.token_logprobs[0] is None and all(value <= 0 for value in logprobs.token_logprobs[1:])


def test_completion_stop_string_and_its_inclusion(complete):
    fields = {"max_tokens": 40, "temperature": 0}
    text = complete(extra={"ignore_eos": True}, **fields).choices[0].text
    stop = text[len(text) // 2:len(text) // 2 + 3]
    cut = text[:text.index(stop)]
    choice = complete(stop=stop, extra={"ignore_eos": True}, **fields).choices[0]
    assert choice.text == cut and choice.finish_reason == "stop" and choice.stop_reason == stop
    included = complete(stop=stop, extra={"ignore_eos": True, "include_stop_str_in_output": True}, **fields)
    assert included.choices[0].text == cut + stop


def test_sampling_extras_are_accepted(complete):
    answer = complete(max_tokens=4, presence_penalty=0.5, frequency_penalty=0.5, top_p=0.9, logit_bias={"5": -100}, extra={
        "top_k": 20, "min_p": 0.01, "repetition_penalty": 1.1, "min_tokens": 2, "skip_special_tokens": False,
        "stop_token_ids": [3], "bad_words": ["zebra"], "priority": 1, "cache_salt": "tenant"})
    assert answer.usage.completion_tokens >= 2


def test_concurrent_requests_answer_as_alone(complete):
    prompts = [f"{PROMPT} number {i}," for i in range(16)]
    alone = [complete(prompt=prompt, max_tokens=12, temperature=0).choices[0].text for prompt in prompts]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        together = pool.map(lambda prompt: complete(prompt=prompt, max_tokens=12, temperature=0).choices[0].text, prompts)
        assert list(together) == alone


# ---- errors ----


@pytest.mark.parametrize("fields, param", [
    ({"temperature": 3}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"n": 0}, "n"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"logprobs": True, "top_logprobs": 50}, "top_logprobs"),
    ({"presence_penalty": 5}, "presence_penalty"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"extra": {"top_k": "many"}}, "top_k"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
])
def test_bad_requests_name_the_parameter(chat, fields, param):
    with pytest.raises(openai.BadRequestError) as error:
        chat(**fields)
    assert error.value.param == param and error.value.type == "invalid_request_error"
    assert error.value.body["message"]


def test_too_long_a_prompt(client, model, complete):
    limit = client.models.retrieve(model).max_model_len
    with pytest.raises(openai.BadRequestError) as error:
        complete(prompt="word " * (limit + 10))
    assert error.value.code == "context_length_exceeded" and str(limit) in str(error.value)


def test_unknown_url_has_an_openai_error(client):
    with pytest.raises(openai.NotFoundError) as error:
        client.embeddings.create(model="x", input="y")
    assert error.value.type == "invalid_request_error"


# ---- adapters ----


@pytest.fixture(scope="session")
def adapters(client):
    """The names of two adapters that the server offers."""
    names = [card.id for card in client.models.list().data if getattr(card, "parent", None)]
    if len(names) < 2:
        pytest.skip("the server has no adapters")
    return names[:2]


def test_adapters_are_models(client, model, adapters):
    card = client.models.retrieve(adapters[0])
    assert card.parent == model and card.root


def test_model_names_the_adapter(client, model, adapters):
    texts = {}
    for name in (model, *adapters):
        answer = client.chat.completions.create(model=name, messages=MESSAGES, max_tokens=20, temperature=0)
        assert answer.model == name
        texts[name] = answer.choices[0].message.content
        stream = client.chat.completions.create(
            model=name, messages=MESSAGES, max_tokens=20, temperature=0, stream=True)
        chunks = list(stream)
        assert {chunk.model for chunk in chunks} == {name}
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == texts[name]
    assert len(set(texts.values())) == 3, texts


def test_adapters_mixed_in_one_batch_answer_as_alone(client, model, adapters):
    def ask(name):
        return client.completions.create(model=name, prompt=PROMPT, max_tokens=24, temperature=0).choices[0].text

    names = [model, *adapters]
    alone = {name: ask(name) for name in names}
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        for name, text in zip(names * 8, pool.map(ask, names * 8)):
            assert text == alone[name], name


def test_adapters_are_loaded_and_unloaded(client, adapters):
    path = client.models.retrieve(adapters[1]).root

    def post(action, **body):
        return client.post(f"/{action}_lora_adapter", body=body, cast_to=str)

    def ask(name):
        return client.completions.create(model=name, prompt=PROMPT, max_tokens=8, temperature=0).choices[0].text

    assert post("load", lora_name="fresh", lora_path=path) == "Success: LoRA adapter 'fresh' added successfully."
    with pytest.raises(openai.BadRequestError, match="has already been loaded"):
        post("load", lora_name="fresh", lora_path=path)
    assert ask("fresh") == ask(adapters[1])
    assert post("unload", lora_name="fresh") == "Success: LoRA adapter 'fresh' removed successfully."
    with pytest.raises(openai.NotFoundError):
        ask("fresh")


# ---- connections ----


def test_request_ids_are_reported(chat):
    assert chat(max_tokens=1)._request_id


def test_leaving_a_stream_frees_the_engine(chat, base_url):
    stream = chat(stream=True, extra={"ignore_eos": True})
    for _ in zip(range(3), stream):
        pass
    stream.close()
    deadline = time.time() + 10
    while metric(base_url, "vllm:num_requests_running") > 0:
        assert time.time() < deadline, "the abandoned request still runs"
        time.sleep(0.01)


def test_async_client_streams(request, base_url, model):
    import asyncio

    async def run():
        client = openai.AsyncOpenAI(base_url=base_url, api_key=request.config.getoption("--api-key"))
        stream = await client.chat.completions.create(model=model, messages=MESSAGES, stream=True, max_tokens=5)
        return [chunk async for chunk in stream]

    assert asyncio.run(run())[-1].choices[0].finish_reason


def test_probes(base_url):
    assert root_get(base_url, "/health") == ""
    assert json.loads(root_get(base_url, "/version"))["version"]
    assert json.loads(root_get(base_url, "/load"))["server_load"] == 0
