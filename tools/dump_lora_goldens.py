#!/usr/bin/env python3
"""Writes tests/golden/lora: random PEFT adapters for the tiny checkpoints, and what PEFT computes with them.

    python3 tools/dump_lora_goldens.py --output tests/golden

Needs what dump_goldens.py needs (and its checkpoints, in tests/golden/checkpoints), and peft.  Runs on a CPU in
under a minute.  Each case is a folder tests/golden/lora/NAME:

    adapter/            the adapter as PEFT saves it: adapter_config.json, adapter_model.safetensors (or .bin)
    logits.safetensors  "logits" [prompt tokens, vocabulary], fp32, with the adapter active
    golden.json         as dump_goldens.py writes it (checkpoint, config, max_model_len, prompt, greedy, margins), and
        peft_version
        base_difference     greatest difference of `logits` to those of the base model
        merged_difference   greatest difference of `logits` to those of the model with the adapter merged in
                            (absent where it cannot be merged)

All is computed in fp32 from the tensors in the file, with eager attention and without a KV cache.  PEFT turns
bf16 and fp16 adapters into fp32 before it computes, so the file's values are exact for every type of file.
"""

import argparse
import json
import os
import shutil
import warnings
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

os.environ["HF_HUB_OFFLINE"] = "1"  # peft looks a base model up by its name
import peft  # noqa: E402
from dump_goldens import greedy, load, variant_config  # noqa: E402
from peft import LoraConfig, PeftModel, get_peft_model  # noqa: E402

NUM_PROMPT_TOKENS = 16
ALORA_TOKENS = [17, 5]

# The fields of LoraConfig, less task_type.  Every alpha differs from its rank, so that every scale counts.
# name: (checkpoint, fields, dtype of the file)
CASES = {
    "llama_all_linear": ("llama", dict(r=8, lora_alpha=16, target_modules="all-linear"), "float16"),
    "llama_qv": ("llama", dict(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj"]), "bfloat16"),
    "llama_rslora": ("llama", dict(r=8, lora_alpha=12, use_rslora=True,
                                   target_modules=["q_proj", "k_proj", "o_proj", "up_proj"]), "float32"),
    # Where two keys match, the first counts; in the order of the alphabet it would be the other one.
    "llama_patterns": ("llama", dict(
        r=5, lora_alpha=7, target_modules="all-linear",
        rank_pattern={"self_attn.q_proj": 3, "layers.1.self_attn.q_proj": 2, r"0\.mlp\.(up|gate)_proj": 12, "k_proj": 1},
        alpha_pattern={"v_proj": 2, "layers.1.self_attn.v_proj": 9, r"layers\.\d\.mlp\.down_proj": 20}), "bfloat16"),
    "llama_layers": ("llama", dict(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"],
                                   layers_to_transform=[1]), "bfloat16"),
    "llama_regex": ("llama", dict(r=3, lora_alpha=8,
                                  target_modules=r".*\.(0\.self_attn\.[qo]_proj|1\.mlp\.gate_proj)"), "bfloat16"),
    "llama_exclude": ("llama", dict(r=2, lora_alpha=3, target_modules="all-linear",
                                    exclude_modules=["k_proj", "layers.1.mlp.up_proj"]), "float16"),
    "llama_wide": ("llama", dict(r=70, lora_alpha=35, target_modules=["layers.0.self_attn.v_proj"]), "bfloat16"),
    "llama_lm_head": ("llama", dict(r=4, lora_alpha=6, target_modules=["v_proj", "lm_head"]), "bfloat16"),
    "llama_bin": ("llama", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"]), "float32"),
    "llama_bias_all_linear": ("llama_bias", dict(r=3, lora_alpha=4, target_modules="all-linear"), "float16"),
    "mistral_qv": ("mistral", dict(r=1, lora_alpha=2, target_modules=["q_proj", "v_proj"]), "float32"),
    "qwen2_all_linear": ("qwen2", dict(r=8, lora_alpha=16, target_modules="all-linear"), "bfloat16"),
    "qwen2_tied_lm_head": ("qwen2", dict(r=5, lora_alpha=4, target_modules=["k_proj", "lm_head"]), "float16"),
    "qwen3_patterns_rslora": ("qwen3", dict(
        r=3, lora_alpha=4, use_rslora=True, target_modules=["q_proj", "k_proj", "v_proj", "gate_proj"],
        rank_pattern={"0.self_attn.[qk]_proj": 12}, alpha_pattern={"k_proj": 9}), "bfloat16"),
    "gemma2_all_linear": ("gemma2", dict(r=3, lora_alpha=8, target_modules="all-linear"), "bfloat16"),
    "gpt_neox_all_linear": ("gpt_neox", dict(r=8, lora_alpha=12, target_modules="all-linear"), "float16"),
    # Transformers 5 calls embed_out lm_head.
    "gpt_neox_qkv_lm_head": ("gpt_neox", dict(r=3, lora_alpha=4, use_rslora=True,
                                              target_modules=["query_key_value", "lm_head"]), "bfloat16"),
    "gpt2_all_linear": ("gpt2", dict(r=8, lora_alpha=16, fan_in_fan_out=True,
                                     target_modules=["c_attn", "c_proj", "c_fc"]), "bfloat16"),
    "gpt2_layers_bin": ("gpt2", dict(r=12, lora_alpha=8, fan_in_fan_out=True, target_modules=["c_attn", "c_fc"],
                                     layers_to_transform=1, layers_pattern="h"), "bfloat16"),
    "gpt2_bare_attention": ("gpt2_bare", dict(r=4, lora_alpha=6, fan_in_fan_out=True,
                                              target_modules=["attn.c_attn", "attn.c_proj"]), "float32"),
    # More than two matrices beside each weight.
    "llama_dora": ("llama", dict(r=4, lora_alpha=8, use_dora=True, target_modules=["q_proj", "down_proj"]), "bfloat16"),
    "llama_lora_bias": ("llama_bias", dict(r=4, lora_alpha=6, lora_bias=True,
                                           target_modules=["q_proj", "up_proj"]), "bfloat16"),
    "qwen2_bias_lora_only": ("qwen2", dict(r=4, lora_alpha=6, bias="lora_only",
                                           target_modules=["q_proj", "v_proj"]), "bfloat16"),
    "llama_modules_to_save": ("llama", dict(r=4, lora_alpha=6, target_modules=["v_proj"],
                                            modules_to_save=["lm_head"]), "bfloat16"),
    "llama_embedding": ("llama", dict(r=4, lora_alpha=6, target_modules=["v_proj", "embed_tokens"]), "bfloat16"),
    "llama_trainable_tokens": ("llama", dict(r=4, lora_alpha=6, target_modules=["v_proj"],
                                             trainable_token_indices=[3, 9]), "bfloat16"),
    "llama_alora": ("llama", dict(r=4, lora_alpha=6, target_modules=["q_proj", "k_proj", "v_proj"],
                                  alora_invocation_tokens=ALORA_TOKENS), "bfloat16"),
}
BIN_FILE_CASES = {"llama_bin", "gpt2_layers_bin"}
# PEFT would add copies of the base weights of these modules, for no use.
WITHOUT_BASE_WEIGHTS_CASES = {"llama_lm_head", "qwen2_tied_lm_head", "gpt_neox_qkv_lm_head", "llama_embedding"}


def randomise(model, generator):
    """Every trainable weight, so that each counts: a matrix changes by about a third, whatever its rank and scale."""
    modules = dict(model.named_modules())
    for path, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if not weight.requires_grad:
            continue
        layer, _, part = path.rpartition(".lora_")
        if part.startswith("A.") or part.startswith("embedding_A."):
            weight.data = noise / (weight.shape[1] ** 0.5 if part.startswith("A.") else 1)
        elif part.startswith("B.default.weight") or part.startswith("embedding_B."):
            spread = 0.5 if part.startswith("B.") else 0.2
            weight.data = noise * spread / (modules[layer].scaling["default"] * weight.shape[1] ** 0.5)
        elif part.startswith("magnitude_vector"):
            weight.data = weight.data * (1 + 0.2 * noise)
        else:
            weight.data = weight.data + 0.1 * noise


def write_adapter(name, base, directory):
    """A random adapter for `base` (which it changes), saved by PEFT."""
    checkpoint, fields, dtype = CASES[name]
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **fields), autocast_adapter_dtype=False)
    randomise(model, torch.Generator().manual_seed(sum(map(ord, name))))
    model.to(getattr(torch, dtype))
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory, safe_serialization=name not in BIN_FILE_CASES,
                          save_embedding_layers=False if name in WITHOUT_BASE_WEIGHTS_CASES else "auto")
    (directory / "README.md").unlink()
    path = directory / "adapter_config.json"
    config = json.loads(path.read_text()) | {"base_model_name_or_path": f"quire-goldens/{checkpoint}"}
    for key in ("rank_pattern", "alpha_pattern"):  # which PEFT sorts when it saves them
        config[key] = fields.get(key, {})
    if isinstance(config["target_modules"], list):  # whose order PEFT leaves to chance
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2) + "\n")


def merged_logits(model, prompt):
    """Those of the merged model; a tied embedding keeps its own weights, as it does in the model with an adapter."""
    base = model.get_base_model()
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    if head.weight is embedding.weight:
        embedding.weight = torch.nn.Parameter(embedding.weight.detach().clone())
    return model.merge_and_unload()(torch.tensor([prompt]), use_cache=False).logits[0]


@torch.no_grad()
def write_case(name, root):
    checkpoint = CASES[name][0]
    checkpoint_dir, directory = root / "checkpoints" / checkpoint, root / "lora" / name
    config = variant_config(checkpoint_dir, {})
    write_adapter(name, load(checkpoint_dir, config, torch.float32), directory / "adapter")
    base = load(checkpoint_dir, config, torch.float32)
    generator = torch.Generator().manual_seed(11)
    prompt = torch.randint(0, base.config.vocab_size, (NUM_PROMPT_TOKENS,), generator=generator).tolist()
    if name == "llama_alora":
        prompt[2:4] = prompt[7:9] = ALORA_TOKENS  # of which the last occurrence counts
    base_logits = base(torch.tensor([prompt]), use_cache=False).logits[0]
    model = PeftModel.from_pretrained(base, directory / "adapter").eval()
    logits = model(torch.tensor([prompt]), use_cache=False).logits[0]
    tokens, margins, _ = greedy(model, prompt)
    golden = dict(checkpoint=checkpoint, transformers_version=transformers.__version__, peft_version=peft.__version__,
                  config=config, max_model_len=0, prompt=prompt, greedy=tokens, margins=margins,
                  base_difference=float((logits - base_logits).abs().max()))
    if name != "llama_alora":  # which is not active everywhere
        golden["merged_difference"] = float((logits - merged_logits(model, prompt)).abs().max())
    save_file({"logits": logits.contiguous()}, directory / "logits.safetensors")
    (directory / "golden.json").write_text(json.dumps(golden) + "\n")
    print(f"{name}: logits max {logits.abs().max():.2f}, base difference {golden['base_difference']:.2f}, "
          f"merged difference {golden.get('merged_difference', -1):.1e}, min margin {min(margins):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the folder tests/golden")
    parser.add_argument("--only", help="write only the cases whose name begins with this")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning, module="peft")
    torch.set_num_threads(2)
    for name in CASES:
        if name.startswith(args.only or ""):
            write_case(name, args.output)


if __name__ == "__main__":
    main()
