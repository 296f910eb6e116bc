"""`PromptType`: how one family of models wants a conversation written down.

The fields have h2oGPT's meanings (its `prompt_dict`); `types.toml` explains them one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from ..errors import InvalidRequest

SHOWN = 60  # characters of a wrong value that an error repeats
Place = Literal["preamble", "turn", "outside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptType:
    """One prompt type, ready to render."""

    name: str
    number: int
    prompt_a: str = ""
    """Preamble where the request has an extra input."""
    prompt_b: str = ""
    """Preamble where it has none."""
    pre_instruct: str | None = None
    pre_input: str | None = None
    pre_response: str = ""
    chat_sep: str = "\n"
    chat_turn_sep: str = "\n"
    terminate_response: tuple[str, ...] = ()
    """What ends an answer, in the order and with the repetitions of the reference."""
    human: str | None = None
    """What a turn of the user begins with in raw output."""
    bot: str | None = None
    """What an answer begins with in raw output."""
    generates_leading_space: bool = False
    system: str | None = None
    """The system prompt as written, `{system}` standing for its text; None: takes none."""
    system_default: str = ""
    system_always: bool = False
    system_place: Place = "preamble"
    first: str = ""
    later: str = ""
    history_space: bool = False
    clock: bool = False
    preamble_each_turn: bool = False
    """The preamble is part of every turn (h2oGPT's custom type)."""
    endings: tuple[str, ...] = ()
    """Fragments of stops that `fix_text` removes from the end of an answer."""

    @property
    def takes_system(self) -> bool:
        """The type has a place for a system prompt."""
        return self.system is not None

    @property
    def stops(self) -> tuple[str, ...]:
        """Every stop string, once: what ends an answer, and what would begin another one."""
        return tuple(dict.fromkeys(s for s in (*self.terminate_response, self.pre_response) if s))

    def as_prompt_dict(self) -> dict[str, Any]:
        """The markers by h2oGPT's names, as `/model_names` and `--prompt_dict` have them."""
        return {
            "promptA": self.prompt_a,
            "promptB": self.prompt_b,
            "PreInstruct": self.pre_instruct,
            "PreInput": self.pre_input,
            "PreResponse": self.pre_response,
            "terminate_response": list(self.terminate_response),
            "chat_sep": self.chat_sep,
            "chat_turn_sep": self.chat_turn_sep,
            "humanstr": self.human,
            "botstr": self.bot,
            "generates_leading_space": self.generates_leading_space,
            "can_handle_system_prompt": self.takes_system,
        }


def nearest(word: str, names: Iterable[str], most: int = 3) -> str:
    """` Did you mean a, b?` for the names that `word` may have been meant as, else ``."""
    lower = {name.lower(): name for name in names}
    found = get_close_matches(word[:SHOWN].lower(), list(lower), n=most, cutoff=0.5)
    return f" Did you mean {', '.join(lower[key] for key in found)}?" if found else ""


def shown(value: object) -> str:
    """A wrong value for an error message, cut and without control characters."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def invalid(message: str, param: str) -> InvalidRequest:
    """The error for a prompt setting that cannot be used."""
    return InvalidRequest(message, param=param)
