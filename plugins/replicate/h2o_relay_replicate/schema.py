"""What a model takes: the OpenAPI schema that its version publishes.

Sources: Replicate's HTTP API reference, `models.get` (`latest_version.openapi_schema`) and
`models.versions.get` (`openapi_schema`); the schema itself is Cog's, whose `components.schemas`
have `Input` and `Output`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from h2o_relay.errors import UpstreamBadResponse
from h2o_relay.types import Kind

CHAT: frozenset[Kind] = frozenset({"chat"})
BOTH: frozenset[Kind] = frozenset({"chat", "text"})


@dataclass(frozen=True, slots=True)
class Schema:
    """`inputs` are the properties of `Input` by name; empty where no schema is published."""

    inputs: Mapping[str, Mapping[str, Any]]
    streams: bool = False
    """The output comes in pieces, so that predictions have a streaming URL."""
    version: str | None = None
    """The id of the version that the schema is of."""
    official: bool | None = None
    """Whether the model can be run by its name alone; None if that is not said."""

    @property
    def kinds(self) -> frozenset[Kind] | None:
        """Which of the two APIs can be made of these inputs; None if they are not known."""
        if "prompt" in self.inputs:
            return BOTH
        return CHAT if "messages" in self.inputs else None

    def first(self, names: tuple[str, ...]) -> str | None:
        """The first of these names that is an input."""
        return next((name for name in names if name in self.inputs), None)


def read(entry: Mapping[str, Any]) -> Schema:
    """The schema in a model's or a version's entry. Raises UpstreamBadResponse if it is neither."""
    version = entry if "openapi_schema" in entry else entry.get("latest_version")
    if version is None and not ("owner" in entry and "name" in entry):
        raise UpstreamBadResponse("the upstream server's answer describes no model")
    version = _object(version)
    schemas = _object(
        _object(_object(version.get("openapi_schema")).get("components")).get("schemas")
    )
    inputs = _object(_object(schemas.get("Input")).get("properties"))
    output = _object(schemas.get("Output"))
    number = version.get("id")
    official = entry.get("is_official")
    return Schema(
        inputs={name: _object(value) for name, value in inputs.items()},
        streams=output.get("x-cog-array-type") == "iterator",
        version=number if isinstance(number, str) else None,
        official=official if isinstance(official, bool) else None,
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
