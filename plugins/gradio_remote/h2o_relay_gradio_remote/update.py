"""An answer that is told over and over, each time a little longer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from h2o_relay.errors import UpstreamBadResponse


@dataclass(slots=True)
class Update:
    """The answer so far, whole."""

    text: str
    last: bool = False
    finish: str = "stop"
    usage: Mapping[str, int] | None = None


class Growth:
    """What each telling adds to the one before."""

    def __init__(self) -> None:
        self._sent = ""

    def feed(self, text: str, last: bool = False) -> str:
        """The new part; "" where it took words back at the end, or at last set its spaces anew.

        Raises UpstreamBadResponse where it changed words that are with the caller already.
        """
        sent = self._sent
        if text.startswith(sent):
            self._sent = text
            return text[len(sent) :]
        if sent.startswith(text) or (last and text.split() == sent.split()):
            return ""
        raise UpstreamBadResponse(
            "the Gradio server changed what it had said before; ask it without streaming"
        )
