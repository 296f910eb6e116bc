"""The `llm` command (Simon Willison's) against `h2o run`: its models are named in its own file
`extra-openai-models.yaml`, as its documentation has it, and its keys in `keys.json`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .kit import EMBEDDED, OPENAI, Capital, Place

pytestmark = pytest.mark.e2e
QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris.\n"
GREEDY = ("-o", "temperature", "0", "-o", "max_tokens", "60")
LIMIT = 60  # seconds
Llm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def folder(places: dict[str, Place], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder of `llm` that knows the two relays, and one of them with a wrong key."""
    made = tmp_path_factory.mktemp("llm")
    models = [
        entry("embedded", places[EMBEDDED]),
        entry("behind", places[OPENAI]),
        entry("responses", places[EMBEDDED]) | {"responses": True},
        entry("stranger", places[OPENAI]) | {"api_key_name": "wrong"},
    ]
    (made / "extra-openai-models.yaml").write_text(json.dumps(models))  # JSON is YAML
    keys = {"behind": places[OPENAI].key, "embedded": places[EMBEDDED].key, "wrong": "sk-wrong"}
    (made / "keys.json").write_text(json.dumps(keys))
    return made


def entry(name: str, place: Place) -> dict[str, object]:
    """A model in `llm`'s file."""
    key = "embedded" if place.model == EMBEDDED else "behind"
    return {
        "model_id": f"h2o-{name}", "model_name": place.model, "api_base": place.base,
        "api_key_name": key, "supports_schema": True,
    }  # fmt: skip


@pytest.fixture
def llm(folder: Path) -> Llm:
    """The command, run to its end."""
    command = str(Path(sys.executable).with_name("llm"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *arguments], capture_output=True, text=True, timeout=LIMIT,
            stdin=subprocess.DEVNULL, env={**os.environ, "LLM_USER_PATH": str(folder)},
        )  # fmt: skip

    return run


def test_models(llm: Llm) -> None:
    done = llm("models")
    assert "OpenAI Chat: h2o-embedded" in done.stdout.splitlines()
    assert "OpenAI Responses: h2o-responses" in done.stdout.splitlines()


@pytest.mark.parametrize(
    "arguments",
    [("h2o-embedded",), ("h2o-responses", "--no-stream")],
    ids=["streamed", "responses"],
)
def test_prompt(llm: Llm, arguments: tuple[str, ...]) -> None:
    """`llm` speaks /v1/responses as well."""
    done = llm("-m", *arguments, QUESTION, *GREEDY, "--usage")
    assert (done.stdout, done.returncode) == (ANSWER, 0), done.stderr
    assert "Token usage: 27 input, 8 output" in done.stderr


def test_schema(llm: Llm) -> None:
    schema = json.dumps(Capital.model_json_schema())
    done = llm("-m", "h2o-behind", QUESTION, *GREEDY, "--schema", schema)
    assert done.returncode == 0, done.stderr
    assert Capital.model_validate_json(done.stdout)


def test_conversation_is_gone_on_with(llm: Llm) -> None:
    """The second prompt is sent with the first one and its answer."""
    first = llm("-m", "h2o-behind", QUESTION, *GREEDY)
    assert (first.stdout, first.returncode) == (ANSWER, 0), first.stderr
    done = llm("-c", "Say it again.", *GREEDY, "--usage")
    assert done.returncode == 0, done.stderr
    told = done.stderr.partition("Token usage: ")[2]
    assert int(told.split()[0]) > 27 + 8


def test_a_refusal_is_one_line(llm: Llm) -> None:
    done = llm("-m", "h2o-stranger", QUESTION)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "The API key is not correct." in line
