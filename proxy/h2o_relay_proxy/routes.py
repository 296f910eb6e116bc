"""Which of the API's routes a path is: one of a few dozen names, whatever callers send."""

from __future__ import annotations

from functools import lru_cache

OTHER = "other"
KNOWN = frozenset(
    {
        "/audio/speech", "/audio/transcriptions", "/audio/translations",
        "/chat/completions/input_tokens", "/detokenize", "/embeddings", "/images/edits",
        "/images/generations", "/images/variations", "/moderations", "/rerank", "/score",
        "/tokenize",
    }
)  # fmt: skip
"""Paths that are there for whichever server has them: who asks for one is told whose server lacks
it, not that there is no such URL."""
EXACT = frozenset(
    {
        "/health", "/readyz", "/metrics", "/openapi.json", "/v1/models", "/v1/chat/completions",
        "/v1/completions", "/v1/messages", "/v1/messages/count_tokens", "/v1/responses",
        "/v1/responses/input_tokens", "/admin/caller", "/admin/trouble",
    }
    | {f"/v1{path}" for path in KNOWN}
)  # fmt: skip
BELOW = (
    ("/v1/models/", "/v1/models/{id}"),
    ("/v1/responses/", "/v1/responses/{id}"),
    ("/admin/", "/admin"),
)


@lru_cache(maxsize=1024)
def route_of(path: bytes) -> str:
    """The route's pattern; "other" for what is none."""
    text = path.decode("latin-1")
    if text in EXACT:
        return text
    return next((name for start, name in BELOW if text.startswith(start)), OTHER)
