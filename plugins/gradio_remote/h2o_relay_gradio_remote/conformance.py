"""The gradio_remote plugin under the conformance suite, by each of the protocols that stream."""

from h2o_relay.testing.suite import BackendSuite, deviates, does_not_apply
from h2o_relay.testing.suite.base import TEXTS

from .standin import CallWire, QueueWire, WholeQueueWire

KEY_ENV = ("H2OGPT_H2OGPT_KEY",)


class TestGradioRemote(BackendSuite):
    """Gradio 5 and 6."""

    plugin = "gradio_remote"
    speaks = CallWire()
    documented = {
        "gradio:192.168.1.46": {"url": "http://192.168.1.46", "user": None, "api": "chat"},
        "gradio:192.168.1.46:7860": {"url": "http://192.168.1.46:7860", "key_env": KEY_ENV},
        "gradio_remote:192.168.1.46:7860": {"url": "http://192.168.1.46:7860"},
        "gradio:192.168.1.46:7860:user:password": {
            "url": "http://192.168.1.46:7860",
            "user": "user",
            "password": "password",
        },
        "gradio:https://gpt.example.com": {"url": "https://gpt.example.com"},
        "gradio:https://gpt.example.com:None:user:password": {
            "url": "https://gpt.example.com",
            "user": "user",
            "password": "password",
        },
        "gradio:http://host:7860/ui": {"url": "http://host:7860/ui"},
        "gradio:[::1]:7860": {"url": "http://[::1]:7860"},
        "gradio:https://gpt.example.com    Bearer    TOKEN": {
            "url": "https://gpt.example.com",
            "headers": {"authorization": "Bearer TOKEN"},
            "password": None,
        },
    }
    foreign = ("gradios:host:7860", "gradio_remot:host", "GRADIO:host:7860")
    malformed = (
        "gradio",
        "gradio:",
        "gradio: ",
        "gradio:host:99999",
        "gradio:host:7860:user:password:more",
        "gradio:ftp://host",
        "gradio:bad host:7860",
        "gradio:https://host   Bearer   TOKEN",
    )
    secret_string = f"gradio:host:7860:user:{BackendSuite.secret}"
    expected_capabilities = {
        "kinds": frozenset({"chat", "text"}),
        "cancels": frozenset({"stream", "generate"}),
        "tokenizer": False,
    }

    test_payloads_are_the_upstreams_own = does_not_apply("Gradio does not speak OpenAI's shape")

    def server_for(self, url: str) -> str:
        return f"gradio:{url}"

    @deviates("the request is in the call that joins the queue, not in the one that listens")
    async def test_unknown_params_reach_the_wire_or_are_reported(self) -> None:
        async with self.relay(self.reply()) as relay:
            completion = await relay.generate(x_conformance="canary-4711")
            joins = [r for r in relay.upstream.requests if r.path.endswith(("_api", "/join"))]
        assert len(joins) == 1
        assert b"canary-4711" not in joins[0].body
        assert "x_conformance" in completion.dropped

    async def test_an_answer_takes_one_join_and_no_cancel(self) -> None:
        async with self.relay(self.reply()) as relay:
            before = len(relay.upstream.requests)
            assert (await relay.generate()).text == "".join(TEXTS)
            methods = [request.method for request in relay.upstream.requests[before:]]
        assert methods == ["POST", "GET"]


class TestGradioRemoteQueue(TestGradioRemote):
    """Gradio 4, `sse_v2` to `sse_v3`."""

    speaks = QueueWire()


class TestGradioRemoteWholeQueue(TestGradioRemote):
    """Gradio 4, `sse_v1`."""

    speaks = WholeQueueWire()
