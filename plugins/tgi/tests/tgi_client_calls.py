"""What the `text-generation` client makes of a TGI server, as JSON: run in an environment of its
own, with the server's URL, by `test_tgi_official_clients`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from text_generation import AsyncClient, Client
from text_generation.errors import GenerationError, ValidationError

PROMPT = "Question: what do parrots eat? Answer:"
MESSAGES = [{"role": "user", "content": "What do parrots eat?"}]


def plain(client: Any) -> dict[str, Any]:
    whole = client.generate(
        PROMPT, max_new_tokens=50, decoder_input_details=True, best_of=2, do_sample=True,
        top_n_tokens=2,
    )  # fmt: skip
    stopped = client.generate(PROMPT, max_new_tokens=50, stop_sequences=[" nuts"])
    events = list(client.generate_stream(PROMPT, max_new_tokens=50, top_n_tokens=1))
    refused = ""
    try:
        client.generate(PROMPT, max_new_tokens=500)
    except ValidationError as error:
        refused = str(error)
    return {
        "text": whole.generated_text,
        "finish_reason": whole.details.finish_reason.value,
        "prefill": [token.text for token in whole.details.prefill],
        "tokens": [token.text for token in whole.details.tokens],
        "top_tokens": [[t.text for t in top] for top in whole.details.top_tokens],
        "best_of": [one.generated_text for one in whole.details.best_of_sequences],
        "stopped": [stopped.generated_text, stopped.details.finish_reason.value],
        "streamed": [e.token.text for e in events if not e.token.special],
        "last": [events[-1].generated_text, events[-1].details.finish_reason.value],
        "refused": refused,
    }


async def asynchronous(client: Any) -> dict[str, Any]:
    whole = await client.generate(PROMPT, max_new_tokens=50)
    texts = [
        event.token.text
        async for event in client.generate_stream(PROMPT, max_new_tokens=50)
        if not event.token.special
    ]
    return {"text": whole.generated_text, "streamed": texts}


def chat(client: Any) -> str:
    """Not streamed: the client's model of a chunk asks for a `tool_calls` that chunks of text do
    not have, by the OpenAPI document neither.
    """
    whole = client.chat(messages=MESSAGES, max_tokens=50, temperature=0.5)
    return str(whole.choices[0].message.content)


def failing(client: Any) -> str:
    try:
        for _ in client.generate_stream(PROMPT):
            pass
    except GenerationError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    url, broken = sys.argv[1:]
    found = {
        "plain": plain(Client(url)),
        "async": asyncio.run(asynchronous(AsyncClient(url))),
        "chat": chat(Client(url)),
        "failing": failing(Client(broken)),
    }
    print(json.dumps(found))
