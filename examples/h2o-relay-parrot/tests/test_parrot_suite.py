"""The parrot plugin under the relay's conformance suite."""

from collections.abc import Mapping, Sequence

import h2o_relay_parrot
import orjson

from h2o_relay.testing.scripts import LAST, Play, chunk, json, play, stream
from h2o_relay.testing.suite import BackendSuite, does_not_apply
from h2o_relay.testing.upstream import Received
from h2o_relay.testing.wire import Wire

JSON_LINES = "application/x-ndjson"


def line(**fields: str) -> bytes:
    return orjson.dumps(fields) + b"\n"


class ParrotWire(Wire):
    """How a parrot server talks."""

    def is_listing(self, request: Received) -> bool:
        return request.path == "/birds"

    def listing(self, names: Sequence[str]) -> Play:
        return json({"birds": list(names)})

    def reply(self, request: Received, texts: Sequence[str], finish: str | None = "stop") -> Play:
        if not request.json()["flow"]:
            return json({"words": "".join(texts), "end": finish})
        words = [line(word=text) for text in texts]
        return stream([*words, line(end=finish)] if finish else words, content_type=JSON_LINES)

    def refusal(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> Play:
        return json({"error": message}, status, headers)

    def failing(self, request: Received, texts: Sequence[str], message: str) -> Play:
        words = stream([line(word=text) for text in texts], content_type=JSON_LINES)
        return words.upto(len(texts)) + play(chunk(line(error=message)), LAST)


class TestParrot(BackendSuite):
    plugin = "parrot"
    module = h2o_relay_parrot
    speaks = ParrotWire()
    documented = {
        "parrot:aviary": {"url": "http://aviary:7375", "key": None},
        "parrot:aviary.example:7375": {"url": "http://aviary.example:7375", "key": None},
        "parrot:aviary.example:7375:KEY": {"url": "http://aviary.example:7375", "key": "KEY"},
        "parrot:https://aviary.example:443": {"url": "https://aviary.example:443"},
    }
    foreign = ("parrots:aviary", "parrot2", "vllm:host:8000")
    malformed = ("parrot", "parrot:", "parrot:aviary:99999", "parrot:aviary:7375:KEY:more")
    secret_string = f"parrot:aviary:7375:{BackendSuite.secret}"
    expected_capabilities = {"kinds": frozenset({"chat"})}

    test_payloads_are_the_upstreams_own = does_not_apply("parrots do not speak OpenAI's shape")

    def server_for(self, url: str) -> str:
        return f"parrot:{url}"
