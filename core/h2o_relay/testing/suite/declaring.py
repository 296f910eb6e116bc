"""`capabilities`, `target` and `fix_text`: pure functions that say what they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar

from ...hookspecs import STEADY
from ...types import Call, Capabilities, Target
from ..sockets import no_sockets
from .base import SuiteBase

AWKWARD = (
    "",
    " ",
    "\n\n",
    "plain text.",
    "  both ends  ",
    "wörld \U0001f99c 你好 e\u0301",
    "<|im_end|>",
    "answer</s>",
    "<s>answer</s></s>",
    "[INST] again",
    "### Human: and then",
    "User: hm\nAssistant: so",
    "data: [DONE]\n\n",
    "a\x00b\ufeffc\u2028d\re",
    "```python\nprint('<|im_end|>')\n```",
)


class DeclaringTests(SuiteBase):
    expected_capabilities: ClassVar[Mapping[str, Any]] = {}
    """Fields of the `Capabilities` that the plugin's documentation promises."""
    leaks: ClassVar[Sequence[str]] = ()
    """Texts that the plugin's servers are known to send, for `fix_text`."""

    def test_capabilities_are_declared(self) -> None:
        found = self.capabilities()
        assert found.kinds
        assert found.kinds <= {"chat", "text"}
        assert found.cancels <= {"stream", "generate"}
        assert isinstance(found.fields, frozenset)
        assert all(path.startswith("/") for path in found.paths)
        flags = (found.finishes, found.continues_text, found.tokenizer)
        assert all(type(flag) is bool for flag in flags)

    def test_capabilities_are_the_documented_ones(self) -> None:
        found = self.capabilities()
        fields = {name: getattr(found, name) for name in self.expected_capabilities}
        assert fields == dict(self.expected_capabilities)

    def test_capabilities_are_pure(self) -> None:
        bound, server = self.plugins().get(self.plugin), self.server()
        with no_sockets():
            first = bound.capabilities(server)
        assert isinstance(first, Capabilities)
        assert bound.capabilities(server) == first

    def test_there_is_a_way_to_generate(self) -> None:
        module = self.hooks()
        assert hasattr(module, "target") or (
            hasattr(module, "generate") and hasattr(module, "stream")
        )

    def test_target_is_pure(self) -> None:
        if not hasattr(self.hooks(), "target"):
            return
        bound, server = self.plugins().get(self.plugin), self.server()
        path = {"chat": "/chat/completions", "text": "/completions"}[self.kind]
        call = Call(method="POST", path=path, body=b"{}", params={})
        with no_sockets():
            found = bound.target(server, call)
        assert isinstance(found, Target)
        assert found == bound.target(server, call)
        assert found.method == "POST"
        assert all(name == name.lower() for name in found.headers)

    def test_a_steady_target_sends_bodies_as_they_are(self) -> None:
        """And does not look at them: the kernel asks it for the first one alone."""
        bound, server = self.plugins().get(self.plugin), self.server()
        if not getattr(bound.target, STEADY, False):
            return
        path = {"chat": "/chat/completions", "text": "/completions"}[self.kind]
        found = []
        for params in ({}, {"model": "a", "stream": True, "user": "b", "max_tokens": 1}):
            call = Call(method="POST", path=path, body=b"%d" % len(params), params=params)
            made = bound.target(server, call)
            assert made is not None
            assert made.body == b"%d" % len(params)
            found.append((made.method, made.url, dict(made.headers)))
        assert found[0] == found[1]

    def test_fix_text_is_pure(self) -> None:
        bound, server, request = self.plugins().get(self.plugin), self.server(), self.request()
        params = deepcopy(dict(request.params))
        for text in (*AWKWARD, *self.leaks):
            for final in (False, True):
                with no_sockets():
                    once = bound.fix_text(server, request, text, final)
                assert isinstance(once, str)
                assert bound.fix_text(server, request, text, final) == once
        assert request.params == params

    def test_fix_text_is_idempotent(self) -> None:
        bound, server, request = self.plugins().get(self.plugin), self.server(), self.request()
        for text in (*AWKWARD, *self.leaks):
            for so_far in (text[:size] for size in range(len(text) + 1)):
                for final in (False, True):
                    once = bound.fix_text(server, request, so_far, final)
                    assert bound.fix_text(server, request, once, final) == once, (so_far, final)
