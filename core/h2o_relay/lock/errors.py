"""What is wrong with a lock or a flag for models."""

from __future__ import annotations

from ..settings import SettingError


class LockError(SettingError):
    """`hint` is a line on what to do about it; neither text holds a secret."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def nearest(word: str, names: object) -> str:
    """`; did you mean a?` for the name that `word` may have been meant as, else ``."""
    from difflib import get_close_matches

    known = [str(name) for name in names]  # type: ignore[attr-defined]
    lower = {name.lower(): name for name in known}
    found = get_close_matches(word[:100].lower(), list(lower), n=1, cutoff=0.5)
    return f"; did you mean {lower[found[0]]!r}?" if found else ""


def shown(value: object) -> str:
    """A wrong value for an error message, cut and escaped."""
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
