"""Which paths OpenAI, Groq and servers like them have, by the API references of the first two.

Paths that are in none of these sets are passed on: there are many more, and servers that nobody
knows say themselves what they lack.
"""

from __future__ import annotations

ANY = frozenset({"/chat/completions", "/completions", "/models", "/embeddings"})
OPENAI = ANY | {
    "/responses", "/responses/compact", "/responses/input_tokens", "/moderations", "/audio/speech",
    "/audio/transcriptions", "/audio/translations", "/images/generations", "/images/edits",
    "/images/variations",
}  # fmt: skip
GROQ = frozenset(
    {
        "/chat/completions", "/models", "/responses", "/audio/speech", "/audio/transcriptions",
        "/audio/translations",
    }
)  # fmt: skip
ANTHROPICS = frozenset({"/messages", "/messages/count_tokens"})
"""A server of OpenAI's API need not have these; where it has, nothing says so."""
OTHERS = ANTHROPICS | {
    "/chat/completions/input_tokens", "/detokenize", "/rerank", "/score", "/tokenize",
}  # fmt: skip
"""What vLLM and llama.cpp have beside them, and OpenAI has not."""


def foreign(whose: str) -> frozenset[str]:
    """The known paths that a server of `openai`, `groq` or somebody else does not have."""
    if not whose:
        return ANTHROPICS
    return OTHERS if whose == "openai" else OTHERS | (OPENAI - GROQ)
