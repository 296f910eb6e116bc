"""Models as Anthropic's API lists them (`ModelInfo`, "List Models"), for callers that speak it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import orjson

from h2o_relay.errors import InvalidRequest
from h2o_relay.types import Deployment

VERSION = b"anthropic-version"
"""The header by which such callers are known."""
DEFAULT = 20
MOST = 1000
STAGES = ("active", "deprecated", "retired")


def listed(models: Sequence[Deployment], query: str) -> bytes:
    """A page of the list: `limit` models after `after_id` or before `before_id`, in the list's
    order. Raises InvalidRequest.
    """
    asked = parse_qs(query, keep_blank_values=True)
    limit, (start, end) = _limit(asked), (0, len(models))
    after, before = _cursor(asked, "after_id", models), _cursor(asked, "before_id", models)
    if after is not None and before is not None:
        raise InvalidRequest("Give 'after_id' or 'before_id', not both.", param="before_id")
    if not _wants_active(asked):
        models, end = (), 0
    elif before is not None:
        start, end = max(0, before - limit), before
    else:
        start = 0 if after is None else after + 1
        end = min(start + limit, len(models))
    page = [_entry(model) for model in models[start:end]]
    more = start > 0 if before is not None else end < len(models)
    return orjson.dumps(
        {
            "data": page,
            "has_more": more,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
        }
    )


def one(model: Deployment) -> bytes:
    """What /models/{id} answers."""
    return orjson.dumps(_entry(model))


def _entry(model: Deployment) -> dict[str, Any]:
    """A model. When it was made is the epoch where nobody says; its limits are one, the context."""
    created = datetime.fromtimestamp(model.created, UTC)
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": model.max_context,
        "max_tokens": model.max_context,
    }


def _limit(asked: dict[str, list[str]]) -> int:
    given = asked.get("limit", [str(DEFAULT)])[-1]
    if not (given.isascii() and given.isdigit() and len(given) <= 4 and 1 <= int(given) <= MOST):
        raise InvalidRequest(f"'limit' must be a number from 1 to {MOST}.", param="limit")
    return int(given)


def _cursor(asked: dict[str, list[str]], name: str, models: Sequence[Deployment]) -> int | None:
    """The place of the model that a page begins at or ends with; None where none is named."""
    if name not in asked:
        return None
    wanted = asked[name][-1]
    for place, model in enumerate(models):
        if model.name == wanted:
            return place
    raise InvalidRequest(f"'{name}' is not the id of a model that is listed.", param=name)


def _wants_active(asked: dict[str, list[str]]) -> bool:
    """`lifecycle` asks for models in these stages only; all of ours are active."""
    stages = [*asked.get("lifecycle", ()), *asked.get("lifecycle[]", ())]
    for stage in stages:
        if stage not in STAGES:
            raise InvalidRequest(
                f"'lifecycle' must be one of {', '.join(STAGES)}.", param="lifecycle"
            )
    return not stages or "active" in stages
