"""Chat templates that replace the one in a model file."""

from __future__ import annotations

from pathlib import Path

from .source import DEFAULT_MODEL

# Like the model's own (ChatML), but for the system message that stands in when there is none. With
# the model's own, and four-bit weights, the likeliest answer to a plain question is word salad.
SMOLLM2 = """\
{% for message in messages %}\
{% if loop.first and message['role'] != 'system' %}\
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}\
{% endif %}\
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}\
{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def template_for(model: Path) -> str | None:
    """The template for a model file; None where its own is right.

    A file is known by its name: also another quantisation, or one that was got elsewhere.
    """
    return SMOLLM2 if model.name.lower().startswith(DEFAULT_MODEL.lower()) else None
