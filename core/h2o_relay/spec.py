"""`ServerSpec`: a server as its operator configured it, before it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .types import UNTUNED, Server, Tuning

NO_KEY = "EMPTY"
"""What OpenAI's clients are told to send where no key is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """One entry of a model lock, or one server of a command line. Its repr holds no secret."""

    server: str | Server = field(repr=False)
    base_model: str | None = None
    """The public name of its model; None: every model it lists, by the names it lists."""
    display_name: str | None = None
    """The name that clients ask for, in place of `base_model`."""
    upstream: str | None = None
    """The server's own name of the model, where the operator says it."""
    key: str | None = field(default=None, repr=False)
    """A key for a server whose string has none."""
    tuning: Tuning = UNTUNED
    visible: bool | frozenset[str] = True
    """Whether its models are listed, or the names of those that are."""
    written: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """The entry of a lock that says all this, secrets included; `parsed` makes one where it was no
    entry.
    """

    def parsed(self, parse: Callable[[str], Server]) -> ServerSpec:
        """The same with its server read, and `upstream`, `key` and the context's length in their
        places there.

        Raises what `parse` raises.
        """
        server = parse(self.server) if isinstance(self.server, str) else self.server
        changes: dict[str, Any] = {}
        if self.upstream:
            changes["model"] = self.upstream
        if self.key and server.key in (None, NO_KEY):
            changes["key"] = self.key
        if self.tuning.max_seq_len is not None:
            changes["max_seq_len"] = self.tuning.max_seq_len
        if changes:
            server = replace(server, **changes)
        base_model = self.base_model or (server.model if self.display_name else None)
        return replace(self, server=server, base_model=base_model, written=self._entry())

    def _entry(self) -> Mapping[str, Any]:
        if self.written is not None:
            return self.written
        text = self.server if isinstance(self.server, str) else self.server.shown
        said = {"inference_server": text, "base_model": self.base_model,
                "display_name": self.display_name, "visible_models": self.upstream,
                "h2ogpt_key": self.key}  # fmt: skip
        return {key: value for key, value in said.items() if value}
