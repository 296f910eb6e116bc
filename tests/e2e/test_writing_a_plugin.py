"""docs/writing-a-plugin.md, performed: its shell blocks are run as they stand, in one shell."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path

import pytest

from .. import throwaway

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "writing-a-plugin.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORTS = ("5101", "5102")
STEP = "=== step {} ==="
LIMIT = 55  # seconds


def blocks() -> list[str]:
    """The page's commands; its ports are exchanged for free ones."""
    text = PAGE.read_text(encoding="utf-8")
    free = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    for port, probe in zip(PORTS, free, strict=True):
        assert port in text
        text = text.replace(port, str(probe.getsockname()[1]))
        probe.close()
    return BLOCK.findall(text)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the shell printed, step by step."""
    made = throwaway.make(tmp_path_factory.mktemp("environment"))
    folder = tmp_path_factory.mktemp("author")
    (folder / "examples").symlink_to(ROOT / "examples")
    steps = "\n".join(f"echo '{STEP.format(n)}'\n{block}" for n, block in enumerate(blocks()))
    # What was started in the background ends with the shell, as with a terminal that is closed.
    script = f"set -e\ntrap 'kill $(jobs -p); wait' EXIT\n{steps}"
    cache = {"H2O_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=made.env(**cache), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return re.split(re.escape(STEP).replace(r"\{\}", r"\d+") + "\n", done.stdout)[1:]


def test_it_is_created(said: list[str]) -> None:
    assert "Wrote h2o-relay-acme" in said[0]


def test_it_is_installed(said: list[str]) -> None:
    assert "Successfully installed h2o-relay-acme-0.1.0" in said[1]


def test_it_is_listed(said: list[str]) -> None:
    (row,) = [line for line in said[2].splitlines() if line.startswith("acme ")]
    assert row.split()[1:3] == ["h2o-relay-acme", "0.1.0"]
    assert row.endswith("ready")


def test_it_passes_the_kit(said: list[str]) -> None:
    assert "ok acme:" in said[3]
    rows = said[3].splitlines()
    (row,) = [line for line in rows if line.startswith("acme ")]
    assert re.search(r"(\d+) passed, \d+ skipped$", row), row
    assert "FAILS" not in said[3]


def test_it_answers_through_the_proxy(said: list[str]) -> None:
    (answer,) = re.findall(r'^\{"id".*"chat.completion".*\}', said[5], re.MULTILINE)
    data = json.loads(answer)
    assert data["model"] == "markov"
    assert data["choices"][0]["message"]["content"].endswith((".", "!", "?"))
    assert data["choices"][0]["finish_reason"] == "stop"


def test_it_streams_through_the_proxy(said: list[str]) -> None:
    events = re.findall(r"^data: (.*)$", said[6], re.MULTILINE)
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    words = [c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]]
    assert len([word for word in words if word]) == len("".join(words).split()) > 0
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_every_step_of_the_page_was_run(said: list[str]) -> None:
    assert len(said) == len(BLOCK.findall(PAGE.read_text(encoding="utf-8"))) == 7
