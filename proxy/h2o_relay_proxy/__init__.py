"""The OpenAI-compatible API: a frontend of the kernel in plain ASGI."""
