"""The chat page as far as the store is concerned: `python keeping_process.py URL` makes one
conversation after another and says the id of each once the store has it.
"""

from __future__ import annotations

import asyncio
import sys

from h2o_relay.store import Conversations, Store

OWNER = "endurance"


async def keep(url: str) -> None:
    async with Store(url) as store:
        conversations = Conversations(store)
        while True:
            made = await conversations.create(
                OWNER, title="kept", messages=[{"role": "user", "content": "hi " * 500}]
            )
            print(made.id, flush=True)


if __name__ == "__main__":
    asyncio.run(keep(sys.argv[1]))
