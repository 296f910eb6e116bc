"""From a request to a model's inputs, by the model's schema: no sockets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from h2o_relay.errors import InvalidRequest, UpstreamBadResponse
from h2o_relay.types import Deployment, Kind, Request, Server
from h2o_relay_replicate.conversation import as_prompt
from h2o_relay_replicate.inputs import FIELDS, build, token_limit
from h2o_relay_replicate.schema import Schema, read
from h2o_relay_replicate.standin import GPT, LLAMA, OLD, VERSION, Cloud

from .replicate_kit import chat

PLACE = Deployment(name="llama", server=Server(plugin="replicate"), model="meta/llama")


def asked(
    params: Mapping[str, Any],
    inputs: Mapping[str, Any] = LLAMA,
    *,
    kind: Kind = "chat",
    prompt: str | None = None,
    stops: tuple[str, ...] = (),
) -> tuple[dict[str, Any], list[str]]:
    request = Request(
        kind=kind, params=params, body=None, deployment=PLACE, prompt=prompt, stops=stops
    )
    return build(request, Schema(inputs=inputs))


def test_one_turn_is_the_prompt_as_it_stands() -> None:
    assert asked(chat(" Hi there\n")) == ({"prompt": " Hi there\n"}, [])


def test_system_text_goes_where_the_model_has_it() -> None:
    params = chat("Hi", system="Be brief.")
    assert asked(params)[0] == {"prompt": "Hi", "system_prompt": "Be brief."}
    assert asked(params, OLD)[0] == {"prompt": "Be brief.\n\nHi"}


def test_earlier_turns_are_told_as_a_dialogue() -> None:
    told = "User: 2 + 2?\n\nAssistant: 4\n\nUser: Twice that?\n\nAssistant:"
    params = chat("2 + 2?", "4", "Twice that?", system="Count.")
    assert asked(params)[0] == {"prompt": told, "system_prompt": "Count."}
    assert asked(params, OLD)[0] == {"prompt": f"Count.\n\n{told}"}


def test_messages_go_to_a_model_that_takes_them() -> None:
    params = chat("a", "b", "c", system="d")
    assert asked(params, GPT)[0] == {"messages": params["messages"]}
    as_text = {"messages": {"type": "string"}}
    assert asked(chat("a"), as_text)[0] == {"messages": '[{"role":"user","content":"a"}]'}


def test_nothing_to_answer_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        as_prompt([{"role": "user", "content": ""}], takes_system=True)
    assert caught.value.param == "messages"


def test_a_picture_for_a_text_model_is_refused() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:,"}}
    with pytest.raises(InvalidRequest, match="text"):
        asked({"messages": [{"role": "user", "content": [part]}]})


def test_a_rendered_prompt_is_sent_without_anything_around_it() -> None:
    found, _ = asked(chat("Hi", system="x"), prompt="<s>[INST] Hi [/INST]")
    assert found == {
        "prompt": "<s>[INST] Hi [/INST]", "prompt_template": "{prompt}", "system_prompt": "",
    }  # fmt: skip
    assert asked(chat("Hi"), OLD, prompt="P")[0] == {"prompt": "P"}


@pytest.mark.parametrize("prompt", ["Once", ["Once"]])
def test_a_text_to_complete(prompt: Any) -> None:
    assert asked({"prompt": prompt}, OLD, kind="text")[0] == {"prompt": "Once"}


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], None, 5])
def test_several_texts_or_tokens_are_refused(prompt: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked({"prompt": prompt}, kind="text")
    assert caught.value.param == "prompt"


def test_a_model_without_a_prompt_says_what_it_takes() -> None:
    for kind, params in (("chat", chat("Hi")), ("text", {"prompt": "Hi"})):
        with pytest.raises(InvalidRequest, match="image"):
            asked(params, {"image": {"type": "string"}}, kind=kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "name"),
    [
        (LLAMA, "max_tokens"),
        (GPT, "max_completion_tokens"),
        (OLD, "max_length"),
        ({"prompt": {}, "max_new_tokens": {}, "max_length": {}}, "max_new_tokens"),
    ],
)
@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_limit_goes_by_the_models_name_for_it(
    inputs: Mapping[str, Any], name: str, field: str
) -> None:
    found, ignored = asked({"messages": chat("Hi")["messages"], field: 9}, inputs)
    assert found[name] == 9
    assert token_limit(found) == 9
    assert ignored == []


def test_the_newer_limit_wins() -> None:
    assert asked(chat("Hi", max_tokens=5, max_completion_tokens=7))[0]["max_tokens"] == 7


@pytest.mark.parametrize(
    ("given", "inputs", "sent"),
    [(0, LLAMA, 0.01), (0.7, LLAMA, 0.7), (0, OLD, 0.01), (0, {"temperature": {}}, 0)],
)
def test_a_temperature_below_the_minimum_is_raised(
    given: float, inputs: Mapping[str, Any], sent: float
) -> None:
    inputs = {"prompt": {}, **inputs}
    assert asked(chat("Hi", temperature=given), inputs)[0]["temperature"] == sent


def test_what_the_model_has_no_input_for_is_told() -> None:
    params = chat("Hi", seed=1, top_p=0.5, frequency_penalty=None, max_tokens=3, n=1)
    inputs, ignored = asked(params, {"prompt": {}})
    assert inputs == {"prompt": "Hi"}
    assert sorted(ignored) == ["max_tokens", "seed", "top_p"]


def test_stop_strings_in_the_models_own_form() -> None:
    params = chat("Hi", stop=["END", "a,b"])
    assert asked(params, stops=("</s>",))[0]["stop_sequences"] == "END,</s>"
    listed = {"prompt": {}, "stop": {"type": "array"}}
    assert asked(params, listed, stops=("</s>",))[0]["stop"] == ["END", "a,b", "</s>"]
    assert asked(chat("Hi", stop="END"))[0]["stop_sequences"] == "END"
    assert asked(chat("Hi", stop="a,b")) == ({"prompt": "Hi"}, [])
    assert asked(params, OLD) == ({"prompt": "Hi"}, []), "the kernel cuts"
    assert "stop" not in FIELDS


def test_unknown_fields_are_not_sent() -> None:
    inputs, _ = asked(chat("Hi", prompt_template="{prompt}", logprobs=True, debug=True))
    assert inputs == {"prompt": "Hi"}


def test_a_models_entry_and_a_versions() -> None:
    cloud = Cloud(official=True)
    model, version = read(cloud.entry()), read(cloud.version())
    assert model.inputs == version.inputs == LLAMA
    assert (model.streams, model.official, version.official) == (True, True, None)
    assert model.version == version.version == VERSION
    assert not read(Cloud(iterates=False).entry()).streams


def test_an_entry_without_a_published_version() -> None:
    schema = read({"owner": "a", "name": "b", "latest_version": None})
    assert schema == Schema(inputs={})
    assert schema.kinds is None
    assert asked(chat("Hi", system="S", top_p=1), {}) == ({"prompt": "S\n\nHi"}, ["top_p"])


@pytest.mark.parametrize("entry", [{}, {"detail": "x"}, {"data": []}])
def test_what_is_no_entry(entry: dict[str, Any]) -> None:
    with pytest.raises(UpstreamBadResponse):
        read(entry)


def test_kinds_follow_from_the_inputs() -> None:
    assert Schema(inputs=LLAMA).kinds == {"chat", "text"}
    assert Schema(inputs={"messages": {}}).kinds == {"chat"}
    assert Schema(inputs={"image": {}}).kinds is None
