"""A tiny model directory with a real tokenizer and chat template, and running quire on it.

The weights are random (--load-format dummy): these tests look at commands, not at language.
"""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

BINARY = os.environ["QUIRE_BINARY"]
TIMEOUT_S = 300  # of one command or answer; sanitizer builds and busy machines are slow

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
    "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 259, "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "torch_dtype": "float32",
    "tie_word_embeddings": False, "bos_token_id": 256, "eos_token_id": 257,
}
CHAT_TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
                 "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def byte_alphabet():
    """GPT-2's printable stand-ins for the 256 bytes, by byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in stand_ins:
            stand_ins[byte] = chr(256 + len(stand_ins) - len(printable))
    return [stand_ins[byte] for byte in range(256)]


def tokenizer():
    """Byte-level BPE without merges: a token is a byte."""
    special = ["<|bos|>", "<|im_end|>", "<|im_start|>"]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": 256 + i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for i, name in enumerate(special)],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": {token: i for i, token in enumerate(byte_alphabet())}, "merges": []},
    }


def write_model(directory):
    (directory / "config.json").write_text(json.dumps(CONFIG))
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": CHAT_TEMPLATE, "bos_token": "<|bos|>", "eos_token": "<|im_end|>"}))


class CommandTest(unittest.TestCase):
    """A temporary directory with the model in `self.model`."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.dir = pathlib.Path(temporary.name)
        self.model = self.dir / "model"
        self.model.mkdir()
        write_model(self.model)

    def engine_flags(self):
        return [str(self.model), "--load-format", "dummy", "--kv-cache-memory-bytes", "8M", "--num-threads", "1"]

    def quire(self, *words, stdin="", status=0, **options):
        """Runs a command to its end and checks its exit status."""
        result = subprocess.run([BINARY, *map(str, words)], input=stdin, capture_output=True, text=True,
                                timeout=TIMEOUT_S, check=False, **options)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        return result
