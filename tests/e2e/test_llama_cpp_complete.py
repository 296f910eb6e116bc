"""All that the embedded engine can do, by the official client through `h2o run`."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from .conftest import MODEL, Relay, Run, h2o

pytestmark = pytest.mark.e2e
FRANCE: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY: dict[str, Any] = {"model": MODEL, "temperature": 0, "seed": 1}
CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "digit": {"type": "integer", "minimum": 0, "maximum": 9},
        "kind": {"$ref": "#/$defs/kind"},
    },
    "required": ["city", "digit", "kind"],
    "additionalProperties": False,
    "$defs": {"kind": {"enum": ["big", "small"]}},
}
ZONE = {
    "type": "object", "properties": {"zone": {"enum": ["utc", "cet"]}}, "required": ["zone"],
    "additionalProperties": False,
}  # fmt: skip
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "describe", "parameters": CITY}},
    {"type": "function", "function": {"name": "clock", "parameters": ZONE}},
]


@pytest.fixture(scope="module")
def client(embedded: Relay) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{embedded.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def obeys(arguments: str, schema: dict[str, Any]) -> bool:
    """Whether an answer is JSON of this schema."""
    found = json.loads(arguments)
    if schema is ZONE:
        return set(found) == {"zone"} and found["zone"] in ("utc", "cet")
    assert set(found) == {"city", "digit", "kind"}
    assert isinstance(found["city"], str)
    assert len(found["city"]) <= 20
    return found["digit"] in range(10) and found["kind"] in ("big", "small")


def only_call(answer: Any) -> Any:
    (call,) = answer.choices[0].message.tool_calls
    return call


class TestEmbeddings:
    def test_floats_and_base64_say_the_same(self, client: openai.OpenAI) -> None:
        texts = ["A cat sat there.", "Stocks fell."]
        made = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
        assert [one.index for one in made.data] == [0, 1]
        assert made.usage.prompt_tokens > 4
        raw = client.embeddings.create(model=MODEL, input=texts, encoding_format="base64")
        for one, packed in zip(made.data, raw.data, strict=True):
            assert len(one.embedding) == 576
            data = base64.b64decode(str(packed.embedding))
            assert list(struct.unpack("<576f", data)) == pytest.approx(one.embedding, abs=2e-3)
            assert sum(x * x for x in one.embedding) == pytest.approx(1, abs=1e-3)

    def test_related_sentences_are_near(self, client: openai.OpenAI) -> None:
        pairs = [
            ("The cat sat on the mat.", "A kitten is resting on a rug."),
            ("The stock market fell sharply today.", "Shares dropped in heavy trading."),
            ("The rocket was launched into orbit.", "A spacecraft lifted off."),
        ]
        texts = [first for first, _ in pairs] + [second for _, second in pairs]
        vectors = [e.embedding for e in client.embeddings.create(model=MODEL, input=texts).data]
        for n in range(3):
            near = [sum(map(float.__mul__, vectors[n], v)) for v in vectors[3:]]
            assert near.index(max(near)) == n

    def test_token_ids_and_long_inputs(self, client: openai.OpenAI) -> None:
        made = client.embeddings.create(model=MODEL, input=[[1, 2, 3], [4, 5]])
        assert (len(made.data), made.usage.prompt_tokens) == (2, 5)
        longer = client.embeddings.create(model=MODEL, input="word " * 700)
        assert longer.usage.prompt_tokens > 512

    def test_what_does_not_fit_is_the_callers_error(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError, match="context"):
            client.embeddings.create(model=MODEL, input="word " * 5000)

    def test_chats_are_as_before(self, client: openai.OpenAI) -> None:
        client.embeddings.create(model=MODEL, input="What is the capital of France?")
        answer = client.chat.completions.create(messages=FRANCE, max_tokens=20, **GREEDY)
        assert answer.choices[0].message.content == "The capital of France is Paris."


def test_responses_go_through(client: openai.OpenAI) -> None:
    made = client.responses.create(
        model=MODEL, input="What is the capital of France?", max_output_tokens=20, temperature=0
    )
    assert "Paris" in made.output_text
    count = client.responses.input_tokens.count(model=MODEL, input="hello")
    assert count.input_tokens > 1


def test_paths_that_it_does_not_have(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.moderations.create(model=MODEL, input="x")
    assert caught.value.code == "unknown_url"


class TestForcedTools:
    @pytest.mark.parametrize(("name", "schema"), [("describe", CITY), ("clock", ZONE)])
    def test_by_name(self, client: openai.OpenAI, name: str, schema: dict[str, Any]) -> None:
        answer = client.chat.completions.create(
            messages=FRANCE, tools=TOOLS, max_tokens=100, **GREEDY,
            tool_choice={"type": "function", "function": {"name": name}},
        )  # fmt: skip
        (choice,) = answer.choices
        call = only_call(answer)
        assert call.type == "function"
        assert call.function.name == name
        assert call.id.startswith("call_")
        assert obeys(call.function.arguments, schema)
        assert choice.finish_reason == "stop"
        assert not choice.message.content

    def test_any(self, client: openai.OpenAI) -> None:
        answer = client.chat.completions.create(
            messages=FRANCE, tools=TOOLS, tool_choice="required", max_tokens=100, **GREEDY
        )
        call = only_call(answer)
        assert call.type == "function"
        assert obeys(call.function.arguments, CITY if call.function.name == "describe" else ZONE)
        assert answer.choices[0].finish_reason == "tool_calls"

    def test_streamed(self, client: openai.OpenAI) -> None:
        with client.chat.completions.stream(
            messages=FRANCE, tools=TOOLS, tool_choice="required", max_tokens=100, **GREEDY
        ) as stream:
            events = [event for event in stream if "arguments.delta" in event.type]
            call = only_call(stream.get_final_completion())
        assert len(events) > 3
        assert obeys(call.function.arguments, CITY if call.function.name == "describe" else ZONE)

    def test_a_call_and_its_result_are_understood(self, client: openai.OpenAI) -> None:
        call: Any = {
            "id": "c",
            "type": "function",
            "function": {"name": "clock", "arguments": "{}"},
        }
        result: Any = {"role": "tool", "tool_call_id": "c", "content": "12:00"}
        said: Any = {"role": "assistant", "content": None, "tool_calls": [call]}
        answer = client.chat.completions.create(
            messages=[*FRANCE, said, result], tools=TOOLS, max_tokens=5, **GREEDY
        )
        assert answer.choices[0].message.content

    def test_a_name_that_is_not_there(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError, match="'other'") as caught:
            client.chat.completions.create(
                messages=FRANCE, tools=TOOLS, **GREEDY,
                tool_choice={"type": "function", "function": {"name": "other"}},
            )  # fmt: skip
        assert caught.value.param == "tool_choice"


@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_is_obeyed(client: openai.OpenAI, stream: bool) -> None:
    schema = {"name": "city", "strict": True, "schema": CITY}
    form: Any = {"type": "json_schema", "json_schema": schema}
    made: Any = client.chat.completions.create(
        messages=FRANCE, response_format=form, max_tokens=100, stream=stream, **GREEDY
    )
    if stream:
        text = "".join(c.delta.content or "" for chunk in made for c in chunk.choices)
    else:
        text = made.choices[0].message.content
    assert obeys(text, CITY)


def test_logprobs(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(
        messages=FRANCE, logprobs=True, top_logprobs=3, max_tokens=4, **GREEDY
    )
    logprobs = chat.choices[0].logprobs
    assert logprobs is not None
    content = logprobs.content or []
    assert "".join(one.token for one in content) == chat.choices[0].message.content
    for one in content:
        assert one.logprob <= 0
        assert [top.logprob for top in one.top_logprobs] == sorted(
            (top.logprob for top in one.top_logprobs), reverse=True
        )
        assert len(one.top_logprobs) == 3
    text = client.completions.create(
        prompt="The capital of France is", logprobs=2, max_tokens=2, **GREEDY
    )
    assert text.choices[0].logprobs is not None
    assert text.choices[0].text.startswith(" Paris")
    told = text.choices[0].logprobs
    assert (told.tokens or [])[0] == " Paris"
    assert [len(tops) for tops in told.top_logprobs or ()] == [2, 2]


def test_four_at_once_run_side_by_side(client: openai.OpenAI) -> None:
    """Each has tokens between those of every other, and so none waits for another's end."""
    times: list[list[float]] = [[] for _ in range(4)]
    start = threading.Barrier(4)

    def ask(mine: list[float], number: int) -> None:
        start.wait(10)
        with client.chat.completions.create(
            messages=[{"role": "user", "content": f"Count up from {number}."}], stream=True,
            max_tokens=24, extra_body={"ignore_eos": True}, **GREEDY,
        ) as stream:  # fmt: skip
            mine += (time.monotonic() for chunk in stream if chunk.choices[0].delta.content)

    threads = [threading.Thread(target=ask, args=(t, n)) for n, t in enumerate(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(len(mine) > 10 for mine in times)
    assert max(mine[0] for mine in times) < min(mine[-1] for mine in times)


def test_any_path(
    run: Run, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With spaces, quotes and letters of other scripts, and from where the command is run."""
    folder = tmp_path / "my models, ä'\""
    folder.mkdir()
    (folder / "Größe 1.gguf").symlink_to(model_file)
    monkeypatch.chdir(tmp_path)
    with (
        run(f"llama_cpp:./{folder.name}/Größe 1.gguf", env={"H2O_LLAMA_CPP_SLOTS": "1"}) as relay,
        openai.OpenAI(base_url=f"{relay.url}/v1", api_key="none", max_retries=0) as client,
    ):
        assert [model.id for model in client.models.list()] == ["Größe 1"]
        answer = client.completions.create(
            model="Größe 1", prompt="The capital of France is", max_tokens=1, temperature=0
        )
        assert answer.choices[0].text == " Paris"


def test_a_path_that_is_wrong_is_one_line(tmp_path: Path) -> None:
    text = tmp_path / "notes.gguf"
    text.write_text("no model, but notes")
    for path, why in (
        (tmp_path / "nowhere.gguf", "there is no model file"), (text, "is not a GGUF file"),
    ):  # fmt: skip
        command = [h2o(), "run", "--no-ui", "--openai-port=0", f"llama_cpp:{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        (line,) = (done.stdout + done.stderr).splitlines()
        assert why in line
        assert str(path) in line
