"""A model for vLLM that is made in a moment: two layers with random weights, a token for each byte.

What it says is noise, unless structured outputs leave it no choice. The files are those that
transformers' `save_pretrained` writes; the byte alphabet is GPT-2's `bytes_to_unicode`.
"""

from __future__ import annotations

import json
from pathlib import Path

LOAD = ("--load-format", "dummy")
"""vLLM makes up the weights."""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write(folder: Path) -> Path:
    """Write the model's files into `folder`, which is made."""
    folder.mkdir(parents=True)
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = [chr(byte) for byte in plain] + [chr(256 + n) for n in range(len(others))]
    vocabulary = {word: n for n, word in enumerate([*SPECIAL, *letters])}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [{"id": n, "content": word, **flags, "special": True} for n, word in enumerate(SPECIAL)]
    bytewise = {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True,
    }  # fmt: skip
    tokenizer = {
        "version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": bytewise,
        "decoder": bytewise, "post_processor": None, "truncation": None, "padding": None,
        "model": {
            "type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": None, "dropout": None,
            "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
            "byte_fallback": False, "ignore_merges": False,
        },
    }  # fmt: skip
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128,
        "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 64, "vocab_size": len(vocabulary),
        "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 2,
        "torch_dtype": "float32",
    }  # fmt: skip
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIAL[2],
        "bos_token": SPECIAL[0], "model_max_length": 1024, "chat_template": TEMPLATE,
    }  # fmt: skip
    for name, content in (
        ("tokenizer.json", tokenizer),
        ("config.json", config),
        ("tokenizer_config.json", about),
        ("generation_config.json", {"eos_token_id": 2, "bos_token_id": 0}),
    ):
        (folder / name).write_text(json.dumps(content))
    return folder
