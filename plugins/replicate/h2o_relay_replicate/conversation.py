"""A conversation as the one text that a model with only a `prompt` takes.

The model puts its own chat template around that text, so it is plain: the last user turn as it
stands, or, after earlier turns, all of them as a dialogue:

    User: What is 2 + 2?

    Assistant: 4

    User: And twice that?

    Assistant:

System text goes to the model's `system_prompt`; to one that has none it is the first paragraph.
"""

from __future__ import annotations

from collections.abc import Sequence

from h2o_relay.errors import InvalidRequest
from h2o_relay.prompts.messages import Message, dialogue

PARAGRAPH = "\n\n"


def as_prompt(messages: Sequence[Message], *, takes_system: bool) -> tuple[str, str | None]:
    """The prompt, and the system text where the model takes one apart.

    Raises InvalidRequest for messages that are no text, or where nothing is left to be answered.
    """
    spoken = dialogue(messages)
    parts = [spoken.system] if spoken.system and not takes_system else []
    if spoken.history:
        for turn in spoken.history:
            parts += [f"User: {turn.user}"] if turn.user else []
            parts += [f"Assistant: {turn.answer}"] if turn.answer else []
        parts += [f"User: {spoken.instruction}"] if spoken.instruction else []
        parts.append("Assistant:")
    elif spoken.instruction:
        parts.append(spoken.instruction)
    if not parts:
        raise InvalidRequest("There is nothing to be answered.", param="messages")
    return PARAGRAPH.join(parts), spoken.system if takes_system else None
