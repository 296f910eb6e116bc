"""Errors about fields, by the names that a dialect has for them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from h2o_relay.errors import InvalidRequest


def name_as_asked(error: InvalidRequest, names: Mapping[str, str]) -> None:
    """Put the caller's own name for a field of a chat into an error. `names` as in
    `Exchanged.names`. What follows in the path is left out, for a dialect has other places.
    """
    param = error.param or ""
    own = names.get(re.split(r"[.\[]", param)[0])
    if own:
        error.param = own
        error.message = error.message.replace(f"'{param}'", f"'{own}'")
