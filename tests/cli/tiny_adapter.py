"""PEFT adapters of random numbers for a model directory."""
import json
import pathlib
import random
import struct


def shapes(config):
    """Output and input features of the modules that the adapters adapt."""
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    hidden = config["hidden_size"]
    head_dim = config.get("head_dim", hidden // heads)
    return {"q_proj": (heads * head_dim, hidden), "v_proj": (kv_heads * head_dim, hidden)}


def random_floats(rng, count, deviation):
    return struct.pack(f"<{count}f", *(rng.gauss(0.0, deviation) for _ in range(count)))


def write_safetensors(path, tensors):
    """tensors: name -> (shape, bytes of little-endian float32)."""
    header, offset = {}, 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, data in tensors.values():
            file.write(data)


def write_adapter(directory, model, seed, rank=4, deviation=0.5):
    """An adapter of every layer of the model in `model`, strong enough to change what it says."""
    directory, config = pathlib.Path(directory), json.loads((pathlib.Path(model) / "config.json").read_text())
    directory.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for module, (num_out, num_in) in shapes(config).items():
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            tensors[prefix + ".lora_A.weight"] = ([rank, num_in], random_floats(rng, rank * num_in, deviation))
            tensors[prefix + ".lora_B.weight"] = ([num_out, rank], random_floats(rng, num_out * rank, deviation))
    write_safetensors(directory / "adapter_model.safetensors", tensors)
    (directory / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "base_model_name_or_path": "tiny", "r": rank, "lora_alpha": 2 * rank,
         "target_modules": sorted(shapes(config)), "bias": "none", "task_type": "CAUSAL_LM"}))
    return directory
