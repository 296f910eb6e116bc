"""What callers are told who want no field of theirs ignored (`x-h2o-strict`, `--strict_params`)."""

from __future__ import annotations

from .errors import InvalidRequest


def unsupported(field: str) -> InvalidRequest:
    """For a field that the model's server does not honour."""
    return InvalidRequest(
        f"This model's server does not honour '{field}'.", param=field, code="unsupported_parameter"
    )
