"""Which request fields are honoured, by OpenAI's names and TGI's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

BOTH = frozenset(
    {
        "model", "stream", "stream_options", "temperature", "top_p", "max_tokens",
        "max_completion_tokens", "stop", "seed", "frequency_penalty", "response_format",
        "logprobs", "top_logprobs", "do_sample", "grammar",
    }
)  # fmt: skip
"""By the Messages API and by /generate."""

MESSAGES_ONLY: Mapping[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("auto", "none"),
    "tool_prompt": (),
    "guideline": (),
}
"""Fields of the Messages API that /generate lacks, and the values that ask for nothing."""

NATIVE_ONLY: Mapping[str, tuple[Any, ...]] = {
    "top_k": (0, -1),
    "typical_p": (1,),
    "repetition_penalty": (1,),
    "best_of": (1,),
    "truncate": (),
    "watermark": (False,),
    "decoder_input_details": (False,),
    "details": (False,),
    "top_n_tokens": (0,),
    "adapter_id": (),
    "echo": (False,),
}
"""Fields of /generate that the Messages API lacks, and the values that ask for nothing."""

FIELDS = frozenset({*BOTH, *MESSAGES_ONLY, *NATIVE_ONLY, "messages", "prompt"})


def asked_in_vain(
    params: Mapping[str, Any], unknown: Mapping[str, tuple[Any, ...]]
) -> Iterator[str]:
    """Names of fields that the API in use does not know, and that ask for something."""
    for name, nothing in unknown.items():
        if params.get(name) is not None and params[name] not in nothing:
            yield name
