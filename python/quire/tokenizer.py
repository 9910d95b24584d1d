"""The model's tokenizer, with the calls of Hugging Face tokenizers that people use most."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from quire import _core
from quire.loaded_model import LoadedModel

# A message is a dictionary with role, content, tool_calls, ... as in OpenAI's API.
Messages = Sequence[Mapping[str, Any]]


class Tokenizer:
    """Read-only; any thread.  Of use as long as its model is not shut down."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        info = model.native.info
        self.chat_template: str | None = info.chat_template or None
        self.bos_token: str | None = info.bos_token or None
        self.eos_token: str | None = info.eos_token or None
        self.pad_token: str | None = info.pad_token or None
        self.unk_token: str | None = info.unk_token or None
        self.model_max_length: int = info.max_model_len

    @property
    def bos_token_id(self) -> int | None:
        return self._special_id(self.bos_token)

    @property
    def eos_token_id(self) -> int | None:
        return self._special_id(self.eos_token)

    @property
    def pad_token_id(self) -> int | None:
        return self._special_id(self.pad_token)

    @property
    def unk_token_id(self) -> int | None:
        return self._special_id(self.unk_token)

    @property
    def vocab_size(self) -> int:
        """The highest token id and one more."""
        return self._model.native.tokenizer_size

    def __len__(self) -> int:
        return self.vocab_size

    def __call__(
        self, text: str | Sequence[str], add_special_tokens: bool = True
    ) -> dict[str, list[Any]]:
        """Token ids and attention masks of a text, or lists of them for a list of texts."""
        if isinstance(text, str):
            ids = self.encode(text, add_special_tokens)
            return {"input_ids": ids, "attention_mask": [1] * len(ids)}
        rows = [self.encode(one, add_special_tokens) for one in text]
        return {"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        if not isinstance(text, str):
            raise TypeError(f"text must be str, got {type(text).__name__}")
        return self._model.native.encode(text, add_special_tokens)

    def decode(self, token_ids: int | Sequence[int], skip_special_tokens: bool = False) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else list(token_ids)
        return self._model.native.decode(ids, skip_special_tokens)

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        return [self._model.native.id_to_token(token_id) for token_id in ids]

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int | None]:
        return [self._special_id(token) for token in tokens]

    def apply_chat_template(
        self,
        conversation: Messages | Sequence[Messages],
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        **template_kwargs: Any,
    ) -> Any:
        """The prompt of a conversation: token ids, or without `tokenize` its text; a list of
        these for a list of conversations.  Raises ValueError if the model has no template, or the
        template refuses the conversation."""
        is_batch = bool(conversation) and not isinstance(conversation[0], Mapping)
        conversations: Any = conversation if is_batch else [conversation]
        rendered: list[Any] = []
        for messages in conversations:
            chat = _core.ChatPrompt()
            chat.messages = _json("messages", messages)
            chat.tools = _json("tools", tools) if tools else ""
            chat.template_kwargs = _json("chat_template_kwargs", template_kwargs)
            chat.chat_template = chat_template or ""
            chat.add_generation_prompt = add_generation_prompt
            chat.continue_final_message = continue_final_message
            text = self._model.native.apply_chat_template(chat)
            rendered.append(self.encode(text, add_special_tokens=False) if tokenize else text)
        return rendered if is_batch else rendered[0]

    def _special_id(self, token: str | None) -> int | None:
        token_id = -1 if token is None else self._model.native.token_to_id(token)
        return None if token_id < 0 else token_id


def _json(name: str, value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError as error:
        raise TypeError(f"{name} must be lists, dicts and plain values: {error}") from None
