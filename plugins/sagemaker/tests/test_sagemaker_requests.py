"""What a container is sent."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from h2o_relay.errors import InvalidRequest
from h2o_relay.testing.scripts import json
from h2o_relay.testing.upstream import Answer, Received
from h2o_relay.types import Call
from h2o_relay_sagemaker.payloads import body, custom_attributes, payload_of
from h2o_relay_sagemaker.standin import Llama2Container, OpenAIContainer, TgiContainer, signed_right

from .sagemaker_kit import HELLO, LLAMA2, STRING, asked, request_of, server_of

TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Answer in verse."},
    {"role": "user", "content": "Who was first?"},
    {"role": "assistant", "content": "Adam was."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "then?"}],
    },
]
DIALOG = [*TALK[:3], {"role": "user", "content": "And then?"}]


def sent(text: str, *, stream: bool = False, **request: Any) -> Any:
    """The body for a server string and a request."""
    server = server_of(text, request.get("base_model"))
    made = request_of(server, **request)
    return orjson.loads(body(server, made, payload_of(server), stream=stream))


class TestOpenAI:
    def test_the_request_goes_as_it_came(self) -> None:
        tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
        got = sent("sagemaker_chat:ep", messages=TALK, tools=tools, min_p=0.1)
        assert got == {"messages": TALK, "tools": tools, "min_p": 0.1, "stream": False}

    def test_a_stream(self) -> None:
        options = {"include_usage": True}
        got = sent("sagemaker_chat:ep", stream=True, messages=HELLO, stream_options=options)
        assert got == {"messages": HELLO, "stream": True, "stream_options": options}

    def test_what_the_kernel_rendered(self) -> None:
        got = sent(
            "sagemaker_chat:ep", messages=TALK, stop="a", prompt="<|user|>Hi", stops=("<|user|>",)
        )
        assert got == {"prompt": "<|user|>Hi", "stop": ["a", "<|user|>"], "stream": False}
        chatty = {"tools": [], "max_completion_tokens": 5, "logprobs": True, "top_logprobs": 2}
        got = sent("sagemaker_chat:ep", messages=TALK, prompt="P", **chatty)
        assert got == {"prompt": "P", "max_tokens": 5, "logprobs": 2, "stream": False}

    def test_the_containers_own_name_for_the_model(self) -> None:
        server = server_of(H2O_SAGEMAKER_MODEL="/opt/ml/model")
        made = body(server, request_of(server, messages=HELLO), "openai", stream=False)
        assert orjson.loads(made)["model"] == "/opt/ml/model"


class TestTgi:
    def test_parameters(self) -> None:
        got = sent(
            "sagemaker:ep", kind="text", prompt="Once", max_tokens=5, temperature=0.5, top_p=0.9,
            top_k=3, seed=1, frequency_penalty=0.2, repetition_penalty=1.1, truncate=100,
            stop=["a", "b"], stops=("c", "d", "e"), stream=True,
        )  # fmt: skip
        assert got == {
            "inputs": "Once",
            "parameters": {
                "details": True, "return_full_text": False, "max_new_tokens": 5,
                "temperature": 0.5, "top_p": 0.9, "top_k": 3, "do_sample": True, "seed": 1,
                "repetition_penalty": 1.1, "frequency_penalty": 0.2, "truncate": 100,
                "stop": ["a", "b", "c", "d"],
            },
            "stream": True,
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("params", "expected"),
        [
            ({}, {}),
            ({"temperature": 0}, {"do_sample": False}),
            ({"temperature": 0, "top_p": 0.5, "top_k": 4}, {"do_sample": False}),
            ({"top_p": 1}, {}),
            ({"top_k": -1}, {}),
            ({"max_tokens": None, "max_completion_tokens": 9}, {"max_new_tokens": 9}),
            ({"stop": None, "seed": None}, {}),
        ],
    )
    def test_what_tgi_does_not_take(self, params: Any, expected: Any) -> None:
        got = sent("sagemaker:ep", kind="text", prompt="Once", **params)
        assert got["parameters"] == {"details": True, "return_full_text": False, **expected}

    def test_what_the_kernel_rendered(self) -> None:
        got = sent("sagemaker:ep", messages=TALK, prompt="USER: Hi")
        assert got["inputs"] == "USER: Hi"

    @pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], [], None, 3])
    def test_one_text_at_a_time(self, prompt: Any) -> None:
        server = server_of("sagemaker:ep")
        made = request_of(server, kind="text")
        made.params = {**made.params, "prompt": prompt}
        with pytest.raises(InvalidRequest, match="one text"):
            body(server, made, "tgi", stream=False)

    def test_numbers_are_numbers(self) -> None:
        with pytest.raises(InvalidRequest) as caught:
            sent("sagemaker:ep", kind="text", prompt="Once", temperature="hot")
        assert caught.value.param == "temperature"


class TestLlama2:
    def test_the_whole_conversation_and_the_callers_system_prompt(self) -> None:
        got = sent(
            "sagemaker_chat:ep", base_model=LLAMA2, messages=TALK, max_tokens=7, temperature=0,
            top_p=0.9,
        )  # fmt: skip
        parameters = {
            "return_full_text": False, "max_new_tokens": 7, "temperature": 0.01, "top_p": 0.9,
        }  # fmt: skip
        assert got == {"inputs": [DIALOG], "parameters": parameters, "stream": False}

    def test_neighbours_of_one_role_become_one_message(self) -> None:
        talk = [
            {"role": "developer", "content": "A"}, {"role": "system", "content": "B"},
            {"role": "user", "content": "C"}, {"role": "user", "content": "D"},
        ]  # fmt: skip
        got = sent("sagemaker_chat:ep::llama2", messages=talk)
        assert got["inputs"] == [
            [{"role": "system", "content": "A\n\nB"}, {"role": "user", "content": "C\n\nD"}]
        ]

    @pytest.mark.parametrize(
        ("messages", "param"),
        [
            ([], "messages"),
            ([TALK[0]], "messages"),
            ([TALK[2], TALK[1]], "messages"),
            (TALK[:3], "messages"),
            ([TALK[1], TALK[0], TALK[1]], "messages.1.role"),
            ([TALK[1], {"role": "tool", "content": "4"}], "messages.1.role"),
            ([{"role": "user", "content": [{"type": "image_url"}]}], "messages.0.content"),
            ([{"role": "user", "content": None}], "messages.0.content"),
        ],
    )
    def test_what_a_dialog_cannot_be(self, messages: Any, param: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            sent("sagemaker_chat:ep::llama2", messages=messages)
        assert caught.value.param == param

    def test_text_and_rendered_prompts_go_as_text(self) -> None:
        assert sent("sagemaker_chat:ep::llama2", kind="text", prompt="Once")["inputs"] == "Once"
        assert sent("sagemaker_chat:ep::llama2", messages=TALK, prompt="P")["inputs"] == "P"


@pytest.mark.parametrize(
    ("text", "base_model", "env", "expected"),
    [
        ("sagemaker_chat:ep", LLAMA2, {}, "accept_eula=true"),
        ("sagemaker:ep", "h2oai/h2ogpt-4096-llama2-7b", {}, "accept_eula=true"),
        ("sagemaker_chat:ep::llama2", None, {}, "accept_eula=true"),
        ("sagemaker_chat:ep", "meta-llama/Llama-3.1-8B-Instruct", {}, None),
        ("sagemaker:ep", "llama-20b", {}, None),
        ("sagemaker_chat:ep", LLAMA2, {"H2O_SAGEMAKER_CUSTOM_ATTRIBUTES": "a=b"}, "a=b"),
    ],
)
def test_custom_attributes(
    text: str, base_model: str | None, env: dict[str, str], expected: str | None
) -> None:
    server = server_of(text, base_model, **env)
    assert custom_attributes(server, request_of(server, base_model=base_model)) == expected


class TestOnTheWire:
    async def test_a_whole_answer(self) -> None:
        async with asked(answering(OpenAIContainer())) as relay:
            assert (await relay.generate()).text == "Hi"
            got = relay.last
        assert (got.method, got.path) == ("POST", "/endpoints/test-model/invocations")
        assert got.headers["content-type"] == got.headers["accept"] == "application/json"
        assert "x-amzn-sagemaker-custom-attributes" not in got.headers
        assert "/us-east-2/sagemaker/aws4_request" in got.headers["authorization"]
        assert signed_right(got)

    async def test_a_stream(self) -> None:
        async with asked(answering(Llama2Container()), base_model=LLAMA2) as relay:
            assert "".join(chunk.text for chunk in await relay.stream()) == "Hi"
            got = relay.last
        assert got.path == "/endpoints/test-model/invocations-response-stream"
        assert got.headers["x-amzn-sagemaker-custom-attributes"] == "accept_eula=true"
        assert got.json()["inputs"] == [HELLO]
        assert signed_right(got)

    async def test_what_llama_2_does_not_take_is_reported(self) -> None:
        """Also where only the base model says that it is Llama 2."""
        container = Llama2Container()
        async with asked(answering(container), "sagemaker_chat:ep:us-east-2", LLAMA2) as relay:
            (status,) = relay.kernel.status()
            assert status.models[0].raw["payload"] == "llama2"
            whole = await relay.generate(tools=[], seed=7, top_p=0.5)
            assert whole.dropped == ("tools", "seed")

    async def test_an_inference_component(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("H2O_SAGEMAKER_INFERENCE_COMPONENT", "llama-3-1")
        async with asked(answering(OpenAIContainer())) as relay:
            await relay.generate()
            got = relay.last
        assert got.headers["x-amzn-sagemaker-inference-component"] == "llama-3-1"
        assert signed_right(got)

    async def test_dropped_fields_are_reported(self) -> None:
        async with asked(answering(TgiContainer()), "sagemaker:test-model:us-east-2") as relay:
            completion = await relay.generate("text", logit_bias={}, temperature=1)
            assert completion.dropped == ("logit_bias",)

    async def test_embeddings(self) -> None:
        found = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}]}
        params = {"model": "test-model", "input": "x"}
        calls = [
            Call(method="POST", path="/embeddings", body=orjson.dumps(params), params=params),
            Call(method="POST", path="/embeddings", body=in_pieces(orjson.dumps(params))),
        ]
        async with asked(json(found)) as relay:
            for call in calls:
                async with relay.kernel.forward("test-model", call) as reply:
                    assert reply.status == 200
                    assert orjson.loads(b"".join([p async for p in reply.chunks])) == found
                assert relay.last.path == "/endpoints/test-model/invocations"
                assert relay.last.json() == {"input": "x"}
                assert signed_right(relay.last)

    @pytest.mark.parametrize(
        ("path", "fields"),
        [
            ("/rerank", {"query": "a", "documents": ["b"], "top_n": 1}),
            ("/score", {"text_1": "a", "text_2": ["b"]}),
        ],
    )
    async def test_scores(self, path: str, fields: dict[str, Any]) -> None:
        params = {"model": "test-model", **fields}
        call = Call(method="POST", path=path, body=orjson.dumps(params), params=params)
        async with asked(json({"results": []})) as relay:
            async with relay.kernel.forward("test-model", call) as reply:
                assert b"".join([p async for p in reply.chunks]) == b'{"results":[]}'
            assert relay.last.path == "/endpoints/test-model/invocations"
            assert relay.last.body == orjson.dumps(fields)
            assert signed_right(relay.last)

    @pytest.mark.parametrize(
        ("text", "path", "sent", "code"),
        [
            ("sagemaker:test-model:us-east-2", "/embeddings", b"{}", "unknown_url"),
            ("sagemaker:test-model:us-east-2", "/rerank", b"{}", "unknown_url"),
            (STRING, "/tokenize", b"{}", "unknown_url"),
            (STRING, "/messages", b"{}", "unknown_url"),
            (STRING, "/audio/speech", b"{}", "unknown_url"),
            (STRING, "/embeddings", b"[]", "invalid_json"),
            (STRING, "/embeddings", b"{", "invalid_json"),
        ],
    )
    async def test_other_paths_are_refused(
        self, text: str, path: str, sent: bytes, code: str
    ) -> None:
        async with asked(json({}), text) as relay:
            with pytest.raises(InvalidRequest) as caught:
                async with relay.kernel.forward(
                    "test-model", Call(method="POST", path=path, body=sent)
                ):
                    pass
            assert relay.upstream.requests == []
        assert caught.value.code == code

    def test_a_changed_request_does_not_pass_the_check_of_signatures(self) -> None:
        headers = {
            "host": "h", "x-amz-date": "20260101T000000Z",
            "authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-2/sagemaker/"
            "aws4_request, SignedHeaders=host;x-amz-date, Signature=00",
        }  # fmt: skip
        assert not signed_right(Received("POST", "/", headers, b"", 0.0))


async def in_pieces(data: bytes) -> AsyncIterator[bytes]:
    for place in range(len(data)):
        yield data[place : place + 1]


def answering(container: Any) -> Any:
    async def script(request: Received, answer: Answer) -> None:
        await container.reply(request, ["Hi"])(request, answer)

    return script
