"""get_tokenizer(): the calls of Hugging Face tokenizers that people use most."""

import pytest

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


def test_text_and_back(llm):
    tokenizer = llm.get_tokenizer()
    ids = tokenizer.encode("Hello there")
    assert tokenizer.decode(ids) == "Hello there"
    assert tokenizer.decode(ids[0]) == "Hello"
    assert tokenizer("Hello there") == {"input_ids": ids, "attention_mask": [1] * len(ids)}
    assert tokenizer(["Hello there"])["input_ids"] == [ids]
    assert tokenizer.convert_tokens_to_ids(tokenizer.convert_ids_to_tokens(ids)) == ids
    assert tokenizer.convert_tokens_to_ids(["no such token"]) == [None]
    with pytest.raises(TypeError, match="text"):
        tokenizer.encode(7)


def test_special_tokens(llm):
    tokenizer = llm.get_tokenizer()
    assert tokenizer.convert_ids_to_tokens([tokenizer.eos_token_id]) == [tokenizer.eos_token]
    assert tokenizer.decode([tokenizer.eos_token_id]) == tokenizer.eos_token
    assert tokenizer.decode([tokenizer.eos_token_id], skip_special_tokens=True) == ""
    assert len(tokenizer) == tokenizer.vocab_size == 6144
    assert tokenizer.model_max_length == 1024


def test_chat_template(llm):
    tokenizer = llm.get_tokenizer()
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    assert text == ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
                    "<|im_start|>assistant\n")
    assert tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True) == tokenizer.encode(
        text, add_special_tokens=False)
    assert tokenizer.apply_chat_template([MESSAGES, MESSAGES], tokenize=False, add_generation_prompt=True) == [text] * 2
    assert tokenizer.apply_chat_template(MESSAGES, tokenize=False, chat_template="{{ greeting }}", greeting="x") == "x"
    with pytest.raises(ValueError, match="chat_template"):
        tokenizer.apply_chat_template(MESSAGES, chat_template="{% if %}")
    with pytest.raises(ValueError, match="no names"):
        tokenizer.apply_chat_template(MESSAGES, chat_template="{{ raise_exception('no names') }}")
    with pytest.raises(TypeError, match="messages"):
        tokenizer.apply_chat_template([{"role": "user", "content": object()}])
