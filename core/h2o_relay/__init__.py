"""h2o relay: one chat UI and one OpenAI-compatible API in front of every LLM server you have."""

__version__ = "0.1.0"
