"""Messages to the text that a model completes, by its prompt type.

The rules are h2oGPT's (`Prompter` and the building of its chat context), checked case by case
against what its own code renders. Two of its habits are left out: `<br>` in the words of either
side stays as it is, and a system prompt is never lost because a turn is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from .catalog import get
from .messages import Dialogue, Message, Turn, dialogue
from .prompt_type import PromptType, invalid

FAKE_SYSTEM_QUESTION: Final = "Who are you and what do you do?"
"""The user's words in the made-up first turn whose answer is the system prompt."""
PROMPT_LIMIT: Final = 32 * 2**20
"""Characters; twice what the largest request holds. A type's own texts stand in every turn."""
DEFAULT: Final = (None, "None", "auto")
"""Values of `system_prompt` that stand for the prompt type's own."""
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt, and what ends the answer to it."""

    prompt: str
    stops: tuple[str, ...]
    prompt_type: PromptType
    """`unknown` where a chat template rendered it."""


def local_time() -> datetime:
    """Now, with the local time zone's name."""
    return datetime.now().astimezone()


def render(
    prompt_type: PromptType | str | int,
    messages: Sequence[Message],
    *,
    prompt_dict: Mapping[str, Any] | str | None = None,
    system_prompt: str | None = None,
    fake_system_question: str = FAKE_SYSTEM_QUESTION,
    extra_input: str = "",
    continue_final: bool = False,
    clock: Clock = local_time,
) -> Rendered:
    """The prompt for OpenAI messages.

    `system_prompt` holds where the messages have no system message: None and `auto` mean the
    type's own, an empty text none. Types that cannot take one are told it as the answer to
    `fake_system_question` in a first turn (an empty question turns that off). `extra_input` is
    the second text of instruct models. `continue_final`: an assistant's message at the end is the
    answer's beginning. Raises InvalidRequest.
    """
    kind = prompt_type if isinstance(prompt_type, PromptType) else get(prompt_type, prompt_dict)
    talk = dialogue(messages, continue_final=continue_final)
    system = system_text(kind, talk.system, system_prompt)
    history = talk.history
    if system and not kind.takes_system and fake_system_question:
        history = (Turn(fake_system_question, system), *history)
    head = _preamble(kind, system, bool(extra_input), clock)
    inner = _preamble(kind, system, False, clock) if kind.preamble_each_turn else ""
    turn_system = _written(kind, system) if kind.system_place == "turn" else ""

    # A preamble that every turn has comes once more before the first of several, as in h2oGPT.
    parts = [head] if history or not kind.preamble_each_turn else []
    size = 0
    for number, turn in enumerate(history):
        text = inner + _asked(kind, turn.user, "", number == 0, turn_system)
        text += _answered(kind, turn.answer)
        parts.append(text if text.endswith(kind.chat_turn_sep) else text + kind.chat_turn_sep)
        size += len(text)
        if size > PROMPT_LIMIT:
            raise invalid(f"The prompt has more than {PROMPT_LIMIT} characters.", "messages")
    if kind.preamble_each_turn:
        parts.append(head)
    parts.append(_asked(kind, talk.instruction, extra_input, not history, turn_system))
    parts.append(_opened(kind, talk))
    return Rendered("".join(parts), kind.stops, kind)


def system_text(kind: PromptType, given: str | None, fallback: str | None) -> str:
    """The system prompt's text: the messages', else `fallback`, else the type's own."""
    if given is not None:
        return given
    if fallback in DEFAULT:
        return kind.system_default
    return fallback or ""


def _preamble(kind: PromptType, system: str, with_input: bool, clock: Clock) -> str:
    if kind.takes_system and kind.system_place == "preamble":
        return _written(kind, system)
    text = kind.prompt_a if with_input and kind.prompt_a else kind.prompt_b
    return clock().strftime(text) if kind.clock else text


def _written(kind: PromptType, system: str) -> str:
    """The system prompt with its markers."""
    if kind.system is None or not (system or kind.system_always):
        return ""
    return kind.system.replace("{system}", system)


def _asked(kind: PromptType, instruction: str, extra: str, first: bool, system: str) -> str:
    """The user's side of a turn, up to where the answer's marker follows."""
    start = (kind.first if first else kind.later) + (kind.pre_instruct or "")
    if first:
        start += system
    if instruction and extra:
        if kind.pre_instruct is not None:
            between = "\n" if kind.pre_input is None else kind.pre_input
            text = start + instruction + between + extra
        elif kind.pre_input is not None:
            text = kind.pre_input + instruction + "\n" + extra
        else:
            text = f"{instruction}: {extra}"
    elif instruction or (first and system):
        text = start + instruction
    elif extra:
        text = (kind.pre_input or "") + extra
    else:
        return ""
    return text + kind.chat_sep


def _answered(kind: PromptType, answer: str) -> str:
    """An answer with its marker, spaced as the model would have written it."""
    return kind.pre_response + (" " if kind.history_space else "") + answer


def _opened(kind: PromptType, talk: Dialogue) -> str:
    """The marker after which the model goes on."""
    return kind.pre_response if talk.begun is None else _answered(kind, talk.begun)
