"""The suite that every backend plugin must pass.

    class TestVllm(BackendSuite):
        plugin = "vllm"
        documented = {"vllm:host:8000": {"url": "http://host:8000/v1", "api": "text"}}
        malformed = ["vllm:"]
        secret_string = f"vllm:host:8000:None:{BackendSuite.secret}"

        def server_for(self, url: str) -> str:
            return f"vllm_chat:{url}:None:/v1"

It runs the plugin in a real kernel against a scripted upstream. A test that does not fit is
replaced under `@deviates("why")` or taken away by `does_not_apply("why")`; one that is changed
without a reason fails the suite. `LocalSuite` is for backends that have no server.
"""

from __future__ import annotations

from .answers import AnswerTests
from .base import MODEL, TEXTS, Relay, SuiteBase
from .declaring import DeclaringTests
from .deviations import deviates, does_not_apply
from .failing import FailingTests
from .judged import Judged
from .leaving import LeavingTests
from .local import LocalSuite
from .parsing import ParsingTests

__all__ = [
    "MODEL",
    "TEXTS",
    "BackendSuite",
    "LocalSuite",
    "Relay",
    "SuiteBase",
    "deviates",
    "does_not_apply",
]


class BackendSuite(Judged, ParsingTests, DeclaringTests, AnswerTests, FailingTests, LeavingTests):
    """Subclass it as `Test...` and set `plugin`, `documented`, `malformed`, `secret_string` and
    `server_for`; the rest has defaults."""
