"""A stranger's plugin: installed with pip from a folder, found, listed, used; broken, left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from .conftest import h2o, relay

pytestmark = pytest.mark.e2e
PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "h2o-relay-{name}"
version = "1.2.3"
[project.entry-points."h2o_relay"]
{name} = "h2o_relay_{name}"
"""
MIME = '''
"""Answers with as many dots as the last message has words."""
from h2o_relay.chunks import Chunk, Completion
from h2o_relay.hookspecs import hookimpl
from h2o_relay.types import Model, Server

def dots(request):
    return "." * len(request.params["messages"][-1]["content"].split())

@hookimpl
def parse_server_string(text):
    return Server(plugin="mime", shown=text) if text == "mime" else None

@hookimpl
async def list_models(server, client):
    return [Model(id="marcel")]

@hookimpl
async def generate(server, client, request):
    return Completion.of([dots(request)], id="m-1", model="marcel")

@hookimpl
async def stream(server, client, request):
    for dot in dots(request):
        yield Chunk.of(dot, id="m-1", model="marcel")
    yield Chunk.of("", id="m-1", model="marcel", finish_reason="stop")
'''
BROKEN = "import a_package_that_nobody_has\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages into which pip installed two plugins from folders elsewhere."""
    target = tmp_path_factory.mktemp("site")
    for name, code in (("mime", MIME), ("clumsy", BROKEN)):
        folder = tmp_path_factory.mktemp(name)
        (folder / "pyproject.toml").write_text(PYPROJECT.format(name=name))
        (folder / f"h2o_relay_{name}.py").write_text(code)
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation",
             "--no-index", "--disable-pip-version-check", "--target", str(target), str(folder)],
            check=True, capture_output=True,
        )  # fmt: skip
    return target


@pytest.fixture(scope="module")
def environment(site: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(site)}


@pytest.fixture(scope="module")
def client(environment: dict[str, str]) -> Iterator[openai.OpenAI]:
    with (
        relay("mime", env=environment) as running,
        openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as made,
    ):
        yield made


def test_it_is_listed_and_the_broken_one_with_its_reason(environment: dict[str, str]) -> None:
    out = subprocess.run(
        [h2o(), "plugin", "list", "--json"], capture_output=True, text=True, timeout=30,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    plugins = {plugin["name"]: plugin for plugin in json.loads(out.stdout)}
    assert plugins["mime"]["version"] == "1.2.3"
    assert plugins["mime"]["error"] is None
    assert "a_package_that_nobody_has" in plugins["clumsy"]["error"]
    assert plugins["vllm"]["error"] is None


def test_it_is_used_through_the_api(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["marcel"]
    asked = {"model": "marcel", "messages": [{"role": "user", "content": "one two three"}]}
    answer = client.chat.completions.create(**asked)  # type: ignore[call-overload]
    assert answer.choices[0].message.content == "..."
    with client.chat.completions.create(**asked, stream=True) as stream:  # type: ignore[call-overload]
        chunks = list(stream)
    assert [c.choices[0].delta.content for c in chunks] == [".", ".", ".", None]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_server_of_the_broken_one_is_refused_in_one_line(environment: dict[str, str]) -> None:
    out = subprocess.run(
        [h2o(), "run", "--no-ui", "clumsy:x"], capture_output=True, text=True, timeout=30,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert out.returncode == 2
    assert "a_package_that_nobody_has" in out.stderr
    assert "Traceback" not in out.stderr
