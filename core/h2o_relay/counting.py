"""How many tokens a chat request's prompt has: by its server's own tokenizer, else estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .preparing import counted, prompt_of, tune
from .types import Request
from .usage import prompt_tokens

if TYPE_CHECKING:
    from .kernel import Kernel
    from .types import Deployment


@dataclass(frozen=True, slots=True)
class TokenCount:
    tokens: int
    estimated: bool
    """The server cannot count, so that the relay has guessed from the text."""
    deployment: Deployment
    """Whose tokens they are."""


async def count(kernel: Kernel, params: Mapping[str, Any]) -> TokenCount:
    """`Kernel.count_tokens`."""
    async with kernel.leased(params.get("model")) as (route, client):
        deployment = route.deployment
        request = Request(kind="chat", params=params, body=None, deployment=deployment)
        tune(request, deployment.tuning, rendering=route.renders)
        if route.renders:
            prompt = await prompt_of(route, kernel.templates, request)
            request = Request(
                kind="text", params={"prompt": prompt}, body=None, deployment=deployment,
                prompt=prompt,
            )  # fmt: skip
        tokens = await counted(route, client, request)
        if tokens is not None:
            return TokenCount(tokens, False, deployment)
        return TokenCount(prompt_tokens(request.params), True, deployment)
