"""The OpenAPI 3.1 document of the relay's API.

It is made of what the code itself uses: ranges come from `checks.py`, errors from the one tree,
what operators see from its dataclasses. So it says what the relay checks, and no more: what is a
server's business to judge is left open.
"""

from .document import document, encoded

__all__ = ["document", "encoded"]
