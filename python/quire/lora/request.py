"""Which LoRA adapter a request is computed with."""

from __future__ import annotations

import os
from dataclasses import dataclass

from quire import _core


@dataclass(frozen=True)
class LoRARequest:
    """An adapter by name, the caller's own number for it, and where its PEFT directory is.

    The engine goes by the name: it is read once, and requests with it share a batch with requests
    for other adapters and for the base model.
    """

    lora_name: str
    lora_int_id: int
    lora_path: str | os.PathLike[str] = ""
    """Needed when the name is used for the first time."""
    base_model_name: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.lora_name, str):
            raise TypeError(f"lora_name must be str, got {self.lora_name!r}")
        if not self.lora_name:
            raise ValueError("lora_name must not be empty")
        if not isinstance(self.lora_int_id, int):
            raise TypeError(f"lora_int_id must be int, got {self.lora_int_id!r}")
        if self.lora_int_id < 1:
            raise ValueError(f"lora_int_id must be at least 1, got {self.lora_int_id}")
        if not isinstance(self.lora_path, (str, os.PathLike)):
            raise TypeError(f"lora_path must be a path, got {self.lora_path!r}")

    @property
    def name(self) -> str:
        return self.lora_name

    @property
    def adapter_id(self) -> int:
        return self.lora_int_id

    @property
    def path(self) -> str:
        return os.fspath(self.lora_path)

    def native(self) -> _core.LoRARequest:
        return _core.LoRARequest(self.lora_name, self.lora_int_id, self.path)
