"""What goes up: a request in OpenAI's terms as TGI's, by both of its APIs."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from h2o_relay.errors import InvalidRequest
from h2o_relay.types import Deployment, Kind, Request, Server
from h2o_relay_tgi.fields import FIELDS
from h2o_relay_tgi.grammar import ANY_OBJECT, grammar_of
from h2o_relay_tgi.messages import adapted
from h2o_relay_tgi.parameters import parameters_of, prompts_of

SERVER = Server(plugin="tgi", url="http://h:8080")
MESSAGES = [{"role": "user", "content": "hi"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
ALWAYS = {"details": True, "return_full_text": False}


def request(
    kind: Kind = "text", prompt: str | None = None, stops: tuple[str, ...] = (), **params: Any
) -> Request:
    deployment = Deployment(name="m", server=SERVER, model="m")
    asked = {"model": "m", **({"messages": MESSAGES} if kind == "chat" else {"prompt": "p"})}
    asked |= params
    return Request(
        kind=kind, params=asked, body=orjson.dumps(asked), deployment=deployment,
        prompt=prompt, stops=stops,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {"do_sample": True}),
        ({"temperature": None}, {"do_sample": True}),
        ({"temperature": 0.7}, {"do_sample": True, "temperature": 0.7}),
        ({"temperature": 1e-6}, {"do_sample": True, "temperature": 0.01}),
        # Greedy: whatever would make TGI sample all the same is left out.
        ({"temperature": 0, "top_p": 0.5, "top_k": 4, "typical_p": 0.5}, {"do_sample": False}),
        ({"do_sample": False, "temperature": 0.5}, {"do_sample": False}),
        ({"top_p": 1}, {"do_sample": True}),
        ({"top_p": 0.95}, {"do_sample": True, "top_p": 0.95}),
        ({"top_p": 0}, {"do_sample": True, "top_p": 0.01}),
        ({"typical_p": 1.0}, {"do_sample": True}),
        ({"typical_p": 0.4}, {"do_sample": True, "typical_p": 0.4}),
        ({"top_k": -1}, {"do_sample": True}),
        ({"top_k": 0}, {"do_sample": True}),
        ({"top_k": 40}, {"do_sample": True, "top_k": 40}),
        ({"max_tokens": 5}, {"do_sample": True, "max_new_tokens": 5}),
        (
            {"max_tokens": 5, "max_completion_tokens": 6},
            {"do_sample": True, "max_new_tokens": 6},
        ),
        ({"seed": 7}, {"do_sample": True, "seed": 7}),
        ({"seed": -1}, {"do_sample": True, "seed": 2**63 - 1}),
        (
            {
                "repetition_penalty": 1.1, "frequency_penalty": 0.1, "best_of": 2, "truncate": 9,
                "watermark": True, "decoder_input_details": True, "adapter_id": "a",
            },
            {
                "do_sample": True, "repetition_penalty": 1.1, "frequency_penalty": 0.1,
                "best_of": 2, "truncate": 9, "watermark": True, "decoder_input_details": True,
                "adapter_id": "a",
            },
        ),
        ({"stop": "x"}, {"do_sample": True, "stop": ["x"]}),
        ({"stop": ["x", "x", ""]}, {"do_sample": True, "stop": ["x"]}),
        ({"logprobs": 3}, {"do_sample": True, "top_n_tokens": 3}),
        ({"logprobs": 0}, {"do_sample": True}),
        ({"top_n_tokens": 2}, {"do_sample": True, "top_n_tokens": 2}),
        ({"presence_penalty": 1, "n": 1, "user": "u"}, {"do_sample": True}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
            {"do_sample": True, "grammar": {"type": "json", "value": SCHEMA}},
        ),
    ],
)  # fmt: skip
def test_text_parameters(given: dict[str, Any], sent: dict[str, Any]) -> None:
    assert parameters_of(request(**given)) == {**ALWAYS, **sent}


def test_a_conversation_may_be_as_long_as_fits() -> None:
    """Left out, the limit would be TGI's own of 20 or 100."""
    sent = parameters_of(request("chat", prompt="<user>hi"))
    assert "max_new_tokens" in sent
    assert sent["max_new_tokens"] is None
    assert "max_new_tokens" not in parameters_of(request("text"))


def test_chat_log_probabilities() -> None:
    sent = parameters_of(request("chat", prompt="p", logprobs=True, top_logprobs=4))
    assert sent["top_n_tokens"] == 4
    assert "top_n_tokens" not in parameters_of(request("chat", prompt="p", logprobs=True))
    assert "top_n_tokens" not in parameters_of(request("chat", prompt="p", top_logprobs=4))


def test_the_stops_of_a_prompt_come_first_and_four_are_sent() -> None:
    sent = parameters_of(request("chat", prompt="p", stops=("a", "b"), stop=["c", "a", "d", "e"]))
    assert sent["stop"] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", "5"), ("temperature", "hot"), ("top_p", True), ("seed", 1.5),
        ("stop", 3), ("stop", [3]), ("response_format", "json"),
        ("response_format", {"type": "json_schema"}), ("response_format", {"type": "xml"}),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parameters_of(request(**{field: value}))
    assert (caught.value.param or "").startswith(field)


def test_prompts() -> None:
    assert prompts_of(request(prompt="rendered", kind="chat")) == ["rendered"]
    assert prompts_of(request()) == ["p"]
    several = request()
    several.params = {"prompt": ["a", "b"]}
    assert prompts_of(several) == ["a", "b"]
    for wrong in ([1, 2], [[1], [2]], [], None, {"a": 1}):
        several.params = {"prompt": wrong}
        with pytest.raises(InvalidRequest, match="token ids"):
            prompts_of(several)


def test_grammars() -> None:
    regex = {"type": "regex", "value": "[ab]+"}
    assert grammar_of({}) is None
    assert grammar_of({"response_format": {"type": "text"}}) is None
    assert grammar_of({"grammar": regex, "response_format": {"type": "json_object"}}) == regex
    assert grammar_of({"response_format": {"type": "json", "value": SCHEMA}}) == {
        "type": "json",
        "value": SCHEMA,
    }
    assert grammar_of({"response_format": {"type": "json_object"}}) == {
        "type": "regex",
        "value": ANY_OBJECT,
    }


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"a": 1}',
        '{"a": [1, -2.5e3, "x", null], "b": {"c": true, "d": {"e": "\\u00e9\\n"}}}',
        '{\n"a":\n"wörld"\n}',
        '{"a": [[1, 2], [3]]}',
    ],
)
def test_a_json_object_fits_the_expression_for_one(text: str) -> None:
    assert isinstance(orjson.loads(text), dict)
    assert re.fullmatch(ANY_OBJECT, text)


@pytest.mark.parametrize("text", ["", "[]", "1", '"a"', "{a: 1}", '{"a": 01}', '{"a": 1,}', '{"a"'])
def test_what_is_no_json_object_does_not(text: str) -> None:
    assert re.fullmatch(ANY_OBJECT, text) is None


def test_a_plain_chat_request_goes_up_as_it_is() -> None:
    asked = request("chat", temperature=0.5, max_tokens=5, top_p=0.9, seed=3, stop=["x"])
    assert adapted(asked) is asked


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 5, "max_tokens": 9}, {"max_tokens": 5}),
        ({"stop": "x"}, {"stop": ["x"]}),
        ({"stop": list("abcdef")}, {"stop": list("abcd")}),
        ({"top_p": 1}, {}),
        ({"top_p": 0.0}, {"top_p": 0.01}),
        # TGI would make a repetition penalty of 2 of it, and refuse the object.
        ({"presence_penalty": 0, "logit_bias": {"50256": -100}}, {}),
        ({"do_sample": False, "temperature": 0.8}, {"temperature": 0}),
        ({"do_sample": True}, {}),
        ({"seed": -2}, {"seed": 2**63 - 2}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
            {"response_format": {"type": "json", "value": SCHEMA}},
        ),
        ({"grammar": {"type": "regex", "value": "a"}},
         {"response_format": {"type": "regex", "value": "a"}}),
        # Neutral values of what only /generate has.
        ({"top_k": 0, "repetition_penalty": 1.0, "best_of": 1, "watermark": False}, {}),
        ({"top_k": None, "top_p": 1}, {}),
    ],
)  # fmt: skip
def test_chat_requests_that_tgi_would_refuse_or_misread(
    given: dict[str, Any], sent: dict[str, Any]
) -> None:
    asked = request("chat", **given)
    before = dict(asked.params)
    found = adapted(asked)
    assert found.params == {"model": "m", "messages": MESSAGES, **sent}
    assert found.body is None
    assert asked.params == before
    assert asked.unread == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [("top_k", 5), ("repetition_penalty", 1.2), ("truncate", 4), ("best_of", 2), ("echo", True)],
)
def test_what_only_generate_has_is_reported_in_messages(field: str, value: Any) -> None:
    asked = request("chat", **{field: value})
    assert adapted(asked).params == {"model": "m", "messages": MESSAGES}
    assert asked.unread == (field,)
    assert field in FIELDS


def test_what_is_not_honoured_is_not_declared() -> None:
    assert not FIELDS & {"n", "presence_penalty", "logit_bias", "user", "min_p", "suffix"}
