#!/usr/bin/env python3
"""Writes tests/golden: tiny random checkpoints, and what HF Transformers computes from them.

    python3 tools/dump_goldens.py --output tests/golden

Needs torch, transformers (5.x) and safetensors; runs on a CPU in under a minute.  Checkpoints are stored
in the type in which their weights were drawn, so that each type of file is exact; the goldens are
computed in fp32 (and greedy tokens in bf16 too), with eager attention and without a KV cache.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

NUM_PROMPT_TOKENS = 40
NUM_GREEDY_TOKENS = 24

LLAMA_LIKE = dict(hidden_size=64, intermediate_size=112, num_hidden_layers=2, num_attention_heads=4,
                  num_key_value_heads=2, max_position_embeddings=128)

# name: (model_type, config fields, dtype of the file, shard size)
CHECKPOINTS = {
    "llama": ("llama", dict(LLAMA_LIKE, vocab_size=256, rms_norm_eps=1e-5), "bfloat16", None),
    "llama_bias": ("llama", dict(LLAMA_LIKE, vocab_size=250, num_hidden_layers=1, attention_bias=True,
                                 mlp_bias=True, tie_word_embeddings=True), "float16", None),
    "mistral": ("mistral", dict(LLAMA_LIKE, vocab_size=264, sliding_window=16), "bfloat16", "60KB"),
    "qwen2": ("qwen2", dict(LLAMA_LIKE, vocab_size=257, num_attention_heads=2, num_key_value_heads=1,
                            tie_word_embeddings=True), "bfloat16", None),
    "qwen3": ("qwen3", dict(LLAMA_LIKE, vocab_size=256, num_attention_heads=2, num_key_value_heads=1,
                            head_dim=64), "bfloat16", None),
    "gemma2": ("gemma2", dict(LLAMA_LIKE, vocab_size=256, num_hidden_layers=4, head_dim=32,
                              intermediate_size=80, query_pre_attn_scalar=24, sliding_window=12,
                              attn_logit_softcapping=5.0, final_logit_softcapping=6.0), "bfloat16", None),
    "gpt_neox": ("gpt_neox", dict(hidden_size=64, intermediate_size=160, num_hidden_layers=2,
                                  num_attention_heads=2, vocab_size=256, max_position_embeddings=128,
                                  rope_parameters=dict(rope_type="default", rope_theta=10000.0,
                                                       partial_rotary_factor=0.25)), "bfloat16", None),
    "gpt2": ("gpt2", dict(n_embd=64, n_layer=2, n_head=4, n_positions=96, vocab_size=259), "bfloat16", None),
    "gpt2_bare": ("gpt2", dict(n_embd=48, n_layer=1, n_head=3, n_inner=100, n_positions=96, vocab_size=201),
                  "float32", None),
}


def rope(rope_type, **fields):
    return dict(rope_parameters=dict(rope_type=rope_type, rope_theta=10000.0, **fields))


LONGROPE = dict(short_factor=[1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 1.7, 2.0],
                long_factor=[1.0, 1.3, 1.9, 2.6, 3.5, 5.0, 8.0, 12.0])

# name: (checkpoint, config fields to replace; None removes one, max_model_len)
# Where HF's frequencies depend on the length of the sequence, max_model_len makes ours depend on the same.
VARIANTS = {
    "llama": ("llama", {}, 0),
    "llama_rope_v4": ("llama", dict(rope_parameters=None, rope_theta=5000.0,
                                    rope_scaling=dict(type="linear", factor=2.0)), 0),
    "llama_linear": ("llama", rope("linear", factor=4.0), 0),
    "llama_dynamic": ("llama", rope("dynamic", factor=4.0), 128),
    "llama_dynamic_long": ("llama", dict(rope("dynamic", factor=4.0), max_position_embeddings=24),
                           NUM_PROMPT_TOKENS),
    "llama_yarn": ("llama", rope("yarn", factor=4.0, original_max_position_embeddings=32), 0),
    "llama_yarn_mscale": ("llama", rope("yarn", factor=8.0, original_max_position_embeddings=16, mscale=0.7,
                                        mscale_all_dim=1.2, beta_fast=8.0, beta_slow=0.5, truncate=False), 0),
    "llama_llama3": ("llama", rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                   original_max_position_embeddings=64), 0),
    "llama_longrope_short": ("llama", rope("longrope", original_max_position_embeddings=64, factor=2.0,
                                           **LONGROPE), 64),
    "llama_longrope_long": ("llama", rope("longrope", original_max_position_embeddings=32, **LONGROPE), 128),
    "llama_bias": ("llama_bias", {}, 0),
    "mistral": ("mistral", {}, 0),
    "qwen2": ("qwen2", {}, 0),
    "qwen2_window": ("qwen2", dict(use_sliding_window=True, sliding_window=9, max_window_layers=1,
                                   layer_types=None), 0),
    "qwen3": ("qwen3", {}, 0),
    "gemma2": ("gemma2", {}, 0),
    "gemma2_default_pattern": ("gemma2", dict(layer_types=None, attn_logit_softcapping=None), 0),
    "gpt_neox": ("gpt_neox", {}, 0),
    "gpt_neox_sequential": ("gpt_neox", dict(use_parallel_residual=False, rope_parameters=None, rotary_pct=0.5,
                                             rotary_emb_base=5000), 0),
    "gpt2": ("gpt2", {}, 0),
    "gpt2_scale_by_layer": ("gpt2", dict(scale_attn_by_inverse_layer_idx=True), 0),
    "gpt2_bare": ("gpt2_bare", {}, 0),
}


def randomise(model, model_type):
    """Weights that make every term count: norms off 1, biases off 0, logits with a spread of about 2."""
    generator = torch.Generator().manual_seed(sum(map(ord, model_type)))
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        is_norm = "norm" in name or "ln_" in name
        if name.endswith("bias"):
            value = 0.2 * noise
        elif is_norm:
            value = (0.0 if model_type == "gemma2" else 1.0) + 0.2 * noise  # Gemma stores weight - 1
        elif "embed_tokens" in name or "embed_in" in name or "wte" in name or "wpe" in name:
            value = noise * 0.3
        elif "lm_head" in name or "embed_out" in name:
            value = noise * 0.25
        else:
            fan_in = weight.shape[0] if model_type == "gpt2" else weight.shape[1]
            value = noise * 1.5 / fan_in**0.5
        weight.data.copy_(value.to(weight.dtype))


def write_checkpoint(name, directory):
    model_type, fields, dtype, shard_size = CHECKPOINTS[name]
    config = AutoConfig.for_model(model_type, bos_token_id=1, eos_token_id=2, **fields)
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    randomise(model, model_type)
    model.save_pretrained(directory, max_shard_size=shard_size or "1GB")
    (directory / "generation_config.json").unlink(missing_ok=True)
    if name == "gpt2_bare":
        path = directory / "model.safetensors"
        with safe_open(path, "pt") as file:
            tensors = {key.removeprefix("transformer."): file.get_tensor(key) for key in file.keys()}
        layers = range(config.n_layer)  # causal masks, as the published gpt2 has them
        masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 8, 8).tril() for i in layers}
        save_file(tensors | masks, path, metadata={"format": "pt"})


def variant_config(checkpoint_dir, changes):
    config = json.loads((checkpoint_dir / "config.json").read_text())
    config.pop("transformers_version", None)
    for key, value in changes.items():
        config.pop(key, None)
        if value is not None:
            config[key] = value
    return config


def load(checkpoint_dir, config, dtype):
    with tempfile.TemporaryDirectory() as scratch:
        for path in checkpoint_dir.iterdir():
            shutil.copy(path, scratch)
        (Path(scratch) / "config.json").write_text(json.dumps(config))
        model, info = AutoModelForCausalLM.from_pretrained(
            scratch, dtype=dtype, attn_implementation="eager", output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    return model.eval()


def greedy(model, prompt):
    tokens, margins, steps = list(prompt), [], []
    for _ in range(NUM_GREEDY_TOKENS):
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0, -1].float()
        best = logits.topk(2)
        tokens.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
        steps.append(logits)
    return tokens[len(prompt):], margins, torch.stack(steps)


@torch.no_grad()
def write_variant(name, root):
    checkpoint, changes, max_model_len = VARIANTS[name]
    checkpoint_dir = root / "checkpoints" / checkpoint
    config = variant_config(checkpoint_dir, changes)
    model = load(checkpoint_dir, config, torch.float32)
    generator = torch.Generator().manual_seed(7)
    prompt = torch.randint(0, model.config.vocab_size, (NUM_PROMPT_TOKENS,), generator=generator).tolist()
    logits = model(torch.tensor([prompt]), use_cache=False).logits[0]
    golden = dict(checkpoint=checkpoint, transformers_version=transformers.__version__, config=config,
                  max_model_len=max_model_len, prompt=prompt)
    if max_model_len != NUM_PROMPT_TOKENS:
        tokens, margins, _ = greedy(model, prompt)
        half = load(checkpoint_dir, config, torch.bfloat16)
        half_tokens, half_margins, half_logits = greedy(half, prompt)
        exact = model(torch.tensor([prompt + half_tokens]), use_cache=False).logits[0, len(prompt) - 1:-1]
        golden |= dict(greedy=tokens, margins=margins, greedy_bf16=half_tokens, margins_bf16=half_margins,
                       bf16_error=float((half_logits - exact).abs().max()))
    directory = root / name
    directory.mkdir(parents=True, exist_ok=True)
    save_file({"logits": logits.contiguous()}, directory / "logits.safetensors")
    (directory / "golden.json").write_text(json.dumps(golden) + "\n")
    print(f"{name}: logits std {logits.std():.2f} max {logits.abs().max():.2f}, "
          f"bf16 error {golden.get('bf16_error', 0):.3f}, min margin {min(golden.get('margins', [0])):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the folder tests/golden")
    root = parser.parse_args().output
    torch.set_num_threads(4)
    for name in CHECKPOINTS:
        write_checkpoint(name, root / "checkpoints" / name)
    for name in VARIANTS:
        write_variant(name, root)


if __name__ == "__main__":
    main()
