#!/usr/bin/env python3
"""Writes a checkpoint of Llama-3.1-8B's shape, 16 GB of random bf16 weights in four files:

    bench/make_checkpoint.py DIR

for what dummy weights cannot measure: reading files.  The tokenizer is the bundled model's.
"""
import array
import json
import math
import pathlib
import random
import shutil
import struct
import sys

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "head_dim": 128, "vocab_size": 128256, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0, "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 128000,
    "eos_token_id": 128001,
    "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 8192, "rope_type": "llama3"},
}
TOKENIZER = pathlib.Path(__file__).parent.parent / "models" / "quire-demo"
FILE_BYTES = 4 << 30
BLOCK_ELEMENTS = 1 << 20  # of random numbers, which are repeated
WRITE_BLOCKS = 16  # at once


def tensors():
    hidden, inner, vocab = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["vocab_size"]
    kv = CONFIG["num_key_value_heads"] * CONFIG["head_dim"]
    yield "model.embed_tokens.weight", [vocab, hidden]
    yield "model.norm.weight", [hidden]
    yield "lm_head.weight", [vocab, hidden]
    for layer in range(CONFIG["num_hidden_layers"]):
        for name, shape in {"self_attn.q_proj": [hidden, hidden], "self_attn.k_proj": [kv, hidden],
                            "self_attn.v_proj": [kv, hidden], "self_attn.o_proj": [hidden, hidden],
                            "mlp.gate_proj": [inner, hidden], "mlp.up_proj": [inner, hidden],
                            "mlp.down_proj": [hidden, inner], "input_layernorm": [hidden],
                            "post_attention_layernorm": [hidden]}.items():
            yield f"model.layers.{layer}.{name}.weight", shape


def num_bytes(shape):
    return 2 * math.prod(shape)


def random_block():
    """Numbers of deviation 0.02 as bf16: the upper halves of floats."""
    source = random.Random(1)
    floats = array.array("f", (source.gauss(0, 0.02) for _ in range(BLOCK_ELEMENTS))).tobytes()
    block = bytearray(2 * BLOCK_ELEMENTS)
    block[0::2], block[1::2] = floats[2::4], floats[3::4]
    return memoryview(bytes(block) * WRITE_BLOCKS)


def files():
    group, size = [], 0
    for name, shape in tensors():
        if size + num_bytes(shape) > FILE_BYTES:
            yield group
            group, size = [], 0
        group.append((name, shape))
        size += num_bytes(shape)
    yield group


def write_file(path, group, block):
    header, end = {}, 0
    for name, shape in group:
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + num_bytes(shape)]}
        end += num_bytes(shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for begin in range(0, end, len(block)):
            out.write(block[:end - begin])


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    groups, index, block = list(files()), {}, random_block()
    for number, group in enumerate(groups, 1):
        path = folder / f"model-{number:05}-of-{len(groups):05}.safetensors"
        write_file(path, group, block)
        index.update({name: path.name for name, _ in group})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    for path in TOKENIZER.glob("tokenizer*.json"):
        shutil.copy(path, folder)


if __name__ == "__main__":
    main()
