"""Every operation of our own OpenAPI document, as schemathesis asks for it: what the document says
of a request and of its answers is so.

What is wrong by the document is refused, what is right by it is not; no answer has a status, a type
or a shape that is not in it, and none says 5xx. The run is the same each time; `-m slow` is longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from h2o_relay.spec import ServerSpec
from h2o_relay.types import Tuning
from h2o_relay_proxy.checking import MAX_INT
from h2o_relay_proxy.openapi import document

from .desk_kit import complete
from .kit import MODEL, Relay
from .threaded import in_thread
from .well_upstream import well

ADMIN_KEY = "admin-canary"
HEADERS = {"Authorization": f"Bearer {ADMIN_KEY}"}
ALL = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]
ENDLESS = "/admin/changes"
FURTHER = ("/v1/responses", "/v1/messages")
"""Requests that are checked further than a schema can tell, as those of /admin are."""
SOON = 1.0
"""`max_time` in seconds from which on an upstream that answers at once is soon enough."""


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """The relay's loop is another thread's here."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """Its server is tuned, so that requests of dialects are translated. The keys that are made
    meanwhile close it to nobody.
    """
    tuning = Tuning(max_max_new_tokens=MAX_INT)
    server = ServerSpec(server="vllm_chat:{url}/v1", base_model=MODEL, tuning=tuning)
    opening = complete(
        tmp_path_factory.mktemp("kept"), well, [server], admin_pass=ADMIN_KEY, max_body=2**22,
        enforce_h2ogpt_api_key=False, h2ogpt_api_keys="['unasked']",
    )  # fmt: skip
    with in_thread(opening) as running:
        yield running


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        yield opened


def schema(examples: int) -> Any:
    """The document, to be tried with so many random requests of each kind and operation, besides
    those at the limits of each field.
    """
    generation = {"deterministic": True, "max-examples": examples, "allow-x00": True,
                  "with-security-parameters": False}  # fmt: skip
    config = schemathesis.Config.from_dict({"generation": generation})
    return schemathesis.openapi.from_dict(document(), config=config).exclude(path=ENDLESS)


def plain(value: Any) -> Any:
    """The same, whole numbers written as such: 3.0 is one to JSON Schema, but not to the relay."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def tried(case: Any, served: Relay, session: requests.Session) -> None:
    if case.meta is not None and case.meta.generation.mode.is_positive:
        body = case.body = plain(case.body)
        if isinstance(body, dict) and type(body.get("max_time")) in (int, float):
            body["max_time"] = max(body["max_time"], SOON)
    further = "Administration" in case.operation.tags or case.operation.path.startswith(FURTHER)
    more = [] if further else [checks.positive_data_acceptance]
    case.call_and_validate(
        base_url=served.url, session=session, headers=HEADERS, checks=[*ALL, *more], timeout=20
    )


quick = schema(4)
long = schema(100)
SETTINGS = {"deadline": None, "suppress_health_check": list(hypothesis.HealthCheck)}


@quick.parametrize()
@hypothesis.settings(**SETTINGS)
def test_operations(case: Any, served: Relay, session: requests.Session) -> None:
    tried(case, served, session)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@long.parametrize()
@hypothesis.settings(**SETTINGS)
def test_operations_for_long(case: Any, served: Relay, session: requests.Session) -> None:
    tried(case, served, session)
