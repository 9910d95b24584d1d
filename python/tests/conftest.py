"""One model for all tests, and adapters with random weights for it."""

import array
import json
import pathlib
import random
import struct

import pytest

from quire import LLM, SamplingParams

HIDDEN_SIZE, NUM_LAYERS, RANK = 384, 8, 4
OUT_FEATURES = {"q_proj": 384, "v_proj": 128}


@pytest.fixture(scope="session")
def llm():
    with LLM(model="quire-demo", max_model_len=1024) as model:
        yield model


@pytest.fixture
def greedy():
    return SamplingParams(temperature=0, max_tokens=16)


def write_adapter(directory: pathlib.Path, seed: int) -> str:
    """A PEFT adapter of quire-demo, strong enough to change what the model says."""
    generator = random.Random(seed)
    header, data = {}, bytearray()
    for layer in range(NUM_LAYERS):
        for module, out_features in OUT_FEATURES.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            for part, shape in (("A", [RANK, HIDDEN_SIZE]), ("B", [out_features, RANK])):
                values = array.array("f", (generator.gauss(0, 0.2) for _ in range(shape[0] * shape[1])))
                header[f"{name}.lora_{part}.weight"] = {
                    "dtype": "F32", "shape": shape,
                    "data_offsets": [len(data), len(data) + 4 * len(values)]}
                data += values.tobytes()
    text = json.dumps(header).encode()
    directory.mkdir()
    (directory / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (directory / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "quire-demo",
        "r": RANK, "lora_alpha": RANK, "target_modules": list(OUT_FEATURES)}))
    return str(directory)
