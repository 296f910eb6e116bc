"""The models that most tests talk to, and the relay in front of them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from .hostile import villainous
from .relay import running
from .servers import Server, endless, gated, numbered, opened, telling

SMALL = "SmolLM2-135M-Instruct"


class Town:
    """Servers of every temper. `chat` is where the page is."""

    def __init__(self) -> None:
        self.parrot = Server("parrot", numbered)
        self.slow = Server("slow", gated)
        self.endless = Server("endless", endless)
        self.whisper = Server("whisper", telling("Hush, ", "hush."))
        self.murmur = Server("murmur", telling("Hm, ", "hm."))
        """They do not say who they are."""
        self.thinker = Server("thinker", telling("<think>Let me", " think.</think>", "Because."))
        self.villain = Server("villain", villainous)
        self.newcomer = Server("newcomer", numbered)
        """Runs, and is not in the lock."""
        self.spy = Server("spy", numbered)
        """Whom nobody has a reason to ask; the villain would like the page to."""
        self.dead_port = unused_port()
        self.chat = ""

    @property
    def servers(self) -> list[Server]:
        return [one for one in vars(self).values() if isinstance(one, Server)]

    def lock(self, embedded: bool) -> list[dict[str, Any]]:
        left_out = (self.newcomer, self.spy)
        lock = [server.entry for server in self.servers if server not in left_out]
        nobody = f"vllm_chat:http://127.0.0.1:{self.dead_port}/v1"
        lock.append({"base_model": "dead", "inference_server": nobody})
        if embedded:
            lock.append({"base_model": SMALL, "inference_server": "llama_cpp"})
        return lock


@contextlib.asynccontextmanager
async def inhabited(folder: Path, *, embedded: bool) -> AsyncIterator[Town]:
    """The town with its relay, whose page is ready."""
    town = Town()
    async with opened(*town.servers):
        lock = town.lock(embedded)
        async with running(lock, folder, "--add-models") as relay:
            town.chat = relay.chat
            yield town


def unused_port() -> int:
    """A port on which nobody listens, and which the system gives to nobody for a while."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
