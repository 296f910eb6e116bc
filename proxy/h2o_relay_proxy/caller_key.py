"""`h2ogpt_key` in a request's body: h2oGPT's documents have callers say their key there as well.

The key is the relay's, so that no server is sent it. It counts for nothing: what counts are the
headers (`auth.py`), as in h2oGPT, whose API left the field out, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from h2o_relay.errors import InvalidRequest

FIELD = "h2ogpt_key"


def without(params: Mapping[str, Any]) -> dict[str, Any]:
    """The request without the key."""
    return {name: value for name, value in params.items() if name != FIELD}


def refuse(params: Mapping[str, Any]) -> None:
    """For requests whose bytes go up as they are. Raises InvalidRequest if the key is in them."""
    if FIELD in params:
        raise InvalidRequest(
            f"'{FIELD}' is not a field here: send the key as 'Authorization: Bearer KEY'.",
            param=FIELD, code="unsupported_parameter",
        )  # fmt: skip
