"""OpenAI's Responses API.

Requests become those of chat completions (`request.py`, `items.py`), answers become responses
(`answer.py`, `output.py`, `growing.py`), which may be kept (`kept.py`).
"""

from .dialect import Responses
from .kept import Kept

__all__ = ["DIALECT", "Kept", "Responses"]

DIALECT = Responses()
"""Keeps nothing: no response can be gone on from."""
