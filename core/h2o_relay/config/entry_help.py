"""What each key of an entry of `models:` means, for the schema and the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..h2ogpt import flags
from ..lock import keys

SAME = "As the setting of this name, for this entry."
OVERRULES = "What every request is sampled with, whatever it says."
GUIDED = "Sent with every request, for servers that guide what is generated."
ENTRY_HELP: Final[Mapping[str, str]] = {
    "inference_server": "The server string; without it base_model is a model for this machine.",
    "base_model": "The public name, which also picks the prompt; without it the entry stands for "
    "every model that its server lists.",
    "display_name": "The name that clients ask for, in place of base_model.",
    "visible_models": "The server's own name of the model, where it has another one.",
    "h2ogpt_key": "A key for a server whose string has none; ${env.NAME} keeps it out of the file.",
    "visible": "Whether the models are listed; they can be asked for all the same.",
    "prompt_type": SAME,
    "prompt_dict": SAME,
    "chat_template": SAME,
    "system_prompt": SAME,
    "max_seq_len": SAME,
    "max_new_tokens": SAME,
    "max_max_new_tokens": SAME,
    "max_output_seq_len": "h2oGPT's other name of max_max_new_tokens.",
    "concurrency_count": SAME,
    "temperature": OVERRULES,
    "top_p": OVERRULES,
    "top_k": OVERRULES,
    "min_p": OVERRULES,
    "seed": OVERRULES,
    "num_return_sequences": "Answers to every request (n), whatever it says.",
    "do_sample": "False is a temperature of 0.",
    "repetition_penalty": "Sent as the presence_penalty that h2oGPT makes of it: 2 * (r - 1).",
    "presence_penalty": OVERRULES,
    "frequency_penalty": OVERRULES,
    "max_time": "Seconds after which every answer ends with what it has, whatever it says.",
    "stop": "Texts at which every answer ends.",
    "response_format": "text, json_object, or OpenAI's object.",
    "guided_json": GUIDED,
    "guided_regex": GUIDED,
    "guided_choice": GUIDED,
    "guided_grammar": GUIDED,
    "guided_whitespace_pattern": GUIDED,
}


def meaning(key: str) -> str:
    """What a key of an entry means; of h2oGPT's others, what became of them."""
    if key in keys.OWN or key in ENTRY_HELP:
        return ENTRY_HELP[key]
    return f"Means nothing here: {flags.answer(key)}."
