"""The dialect, and what is read and deleted of the responses that it has kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

from h2o_relay.errors import InvalidRequest, RelayError

from ...checking import MAX_INT, one_of, out_of_range, wrong_type
from ..base import Exchanged
from .answer import Answering, error_event
from .kept import Encoded, Kept, Of
from .parts import not_here
from .request import read

MOST_FIELDS = 64  # of a query
PAGE, MOST_ITEMS = 20, 100


class Responses:
    """OpenAI's Responses API. Without `kept` no response outlives its answer.

    `owner` is whose a response is: nobody else can read it or go on from it. It is any string that
    tells callers apart, such as a digest of the key.
    """

    path = "/responses"

    def __init__(self, kept: Kept | None = None) -> None:
        self._kept = kept

    def check(self, params: dict[str, Any]) -> None:
        """Whatever it is, a server that speaks this API knows best."""

    def read(self, params: dict[str, Any]) -> Exchanged:
        """A request whose response is not kept, and which cannot go on from another."""
        return _read(params, Of(None, ""))

    def read_for(self, params: dict[str, Any], owner: str) -> Exchanged:
        """A request of `owner`. Raises InvalidRequest, and NotFound for items that are not kept."""
        return _read(params, Of(self._kept, owner))

    def refers(self, params: Mapping[str, Any], owner: str) -> bool:
        """Whether a request goes on from what is kept here, so that no other server could answer
        it. May be asked before the request is checked.
        """
        if self._kept is None:
            return False
        previous, items = params.get("previous_response_id"), params.get("input")
        if type(previous) is str and self._kept.has(owner, previous):
            return True
        ids = [
            item.get("id")
            for item in (items if type(items) is list else ())
            if type(item) is dict and item.get("type", "item_reference") == "item_reference"
        ]
        return any(type(name) is str and self._kept.has_item(owner, name) for name in ids)

    def has(self, response_id: str, owner: str) -> bool:
        return self._kept is not None and self._kept.has(owner, response_id)

    def retrieve(self, response_id: str, owner: str, query: bytes = b"") -> bytes:
        """GET /responses/{id}. Raises NotFound, InvalidRequest."""
        body = self._require().find(owner, response_id).body
        if _query(query).get("stream", "false") != "false":
            raise not_here("stream", "a response that is done is not streamed again.")
        return body

    def delete(self, response_id: str, owner: str) -> bytes:
        """DELETE /responses/{id}. Raises NotFound."""
        self._require().remove(owner, response_id)
        return orjson.dumps({"id": response_id, "object": "response", "deleted": True})

    def cancel(self, response_id: str, owner: str) -> bytes:
        """POST /responses/{id}/cancel. Raises NotFound, and InvalidRequest for all there is."""
        self._require().find(owner, response_id)
        raise InvalidRequest("Cannot cancel a synchronous response.", param="response_id")

    def input_items(self, response_id: str, owner: str, query: bytes = b"") -> bytes:
        """GET /responses/{id}/input_items: a page of them. Raises NotFound, InvalidRequest."""
        items = self._require().find(owner, response_id).input
        fields = _query(query)
        order = fields.get("order", "desc")
        one_of("asc", "desc")("order", order)
        listed = items if order == "asc" else items[::-1]
        page, more = _page(listed, fields)
        first, last = (page[0][0], page[-1][0]) if page else (None, None)
        data = [orjson.Fragment(data) for _, data in page]
        told = {"object": "list", "data": data, "first_id": first, "last_id": last}
        return orjson.dumps({**told, "has_more": more})

    def error(self, error: RelayError, request_id: str) -> bytes:
        """OpenAI's own shape."""
        return error.encoded()

    def broken(self, error: RelayError) -> bytes:
        """Its number is above all that the server can have sent, which were not counted."""
        return error_event(error, MAX_INT)

    def _require(self) -> Kept:
        return self._kept if self._kept is not None else Kept()


def _read(params: dict[str, Any], earlier: Of) -> Exchanged:
    asked = read(params, earlier)
    return Answering(asked, earlier.keeper(asked.items))


def _query(query: bytes) -> dict[str, str]:
    """The last of each name. Raises InvalidRequest for far too many fields."""
    try:
        pairs = parse_qsl(query.decode("latin-1"), max_num_fields=MOST_FIELDS)
    except ValueError:
        raise InvalidRequest(f"The query has more than {MOST_FIELDS} fields.") from None
    return dict(pairs)


def _page(
    items: tuple[Encoded, ...], fields: Mapping[str, str]
) -> tuple[tuple[Encoded, ...], bool]:
    """`limit` items after that of id `after`, and whether there are more."""
    limit = fields.get("limit", str(PAGE))
    if not limit.isascii() or not limit.isdigit():
        raise wrong_type("limit", "a whole number")
    if len(limit) > 3 or not 1 <= int(limit) <= MOST_ITEMS:
        small = limit.strip("0") == ""
        code, wanted = ("below_min_value", "at least 1") if small else (
            "above_max_value", f"at most {MOST_ITEMS}")  # fmt: skip
        raise out_of_range("limit", code, wanted)
    begin = 0
    if "after" in fields:
        ids = [name for name, _ in items]
        if fields["after"] not in ids:
            raise InvalidRequest("'after' is the id of none of these items.", param="after")
        begin = ids.index(fields["after"]) + 1
    end = begin + int(limit)
    return items[begin:end], end < len(items)
