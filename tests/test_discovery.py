"""Plugins as they are installed: by pip, found by entry points, bad ones beside good ones."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{dist}"
version = "1.2"

[project.entry-points."h2o_relay"]
{name} = "{module}"

[project.entry-points."h2o_relay.prefixes"]
{prefixes}
"""
GOOD = """
from h2o_relay.hookspecs import hookimpl
from h2o_relay.types import Server, Target

@hookimpl
def parse_server_string(text):
    return Server(plugin="{name}", url="http://h", shown=text)

@hookimpl
def target(server, call):
    return Target(method=call.method, url=server.url + call.path)
"""
SOURCES = {
    "finch": (GOOD, 'finch_chat = "finch"\nshared = "finch"\norphan = "nobody"'),
    "owl": (GOOD, 'owl_chat = "owl"\nshared = "owl"'),
    "wren": ("1 / 0", 'wren_chat = "wren"'),
    "stork": ("import a_bird_that_never_was.wings\n" + GOOD, ""),
    "crow": (GOOD.replace("def target", "def targt"), ""),
    "rook": (GOOD, 'https = "rook"'),
    "jay": (GOOD, ""),
}
SCRIPT = """
import dataclasses, json, sys
from h2o_relay.errors import RelayError
from h2o_relay.plugins import Plugins
plugins = Plugins.discover(json.loads(sys.argv[1]))
early = [name for name in sys.modules if name.startswith("bird_")]
read = {}
for text in json.loads(sys.argv[2]):
    try:
        read[text] = plugins.parse(text).plugin
    except RelayError as error:
        read[text] = str(error)
infos = {info.name: dataclasses.asdict(info) for info in plugins.infos()}
print(json.dumps({"early": early, "read": read, "infos": infos}))
"""


def write(folder: Path, dist: str, name: str) -> Path:
    source, prefixes = SOURCES[name]
    module = f"bird_{dist}"
    folder.mkdir()
    text = PROJECT.format(dist=f"bird-{dist}", name=name, module=module, prefixes=prefixes)
    (folder / "pyproject.toml").write_text(text)
    (folder / f"{module}.py").write_text(source.replace("{name}", name))
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example plugin and a flock of good and bad ones, installed by pip."""
    root = tmp_path_factory.mktemp("plugins")
    folders = [write(root / name, name, name) for name in SOURCES]
    folders.append(write(root / "jay2", "jay2", "jay"))
    folders.append(ROOT / "examples" / "h2o-relay-parrot")
    target = root / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
    run = subprocess.run(
        [*pip, *options, *map(str, folders)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return target


def discover(site: Path, load: str | None, *texts: str) -> dict[str, Any]:
    """What a fresh interpreter finds when these plugins are installed too."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, json.dumps(load), json.dumps(texts)],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.fixture(scope="module")
def found(installed: Path) -> dict[str, Any]:
    return discover(
        installed, None, "finch:x", "finch_chat:x", "shared:x", "owl_chat:x", "wren:x", "rook:x",
        "parrot:h", "vllm:h:80", "jay:x", "orphan:x", "http://h",
    )  # fmt: skip


def test_plugins_are_not_imported_before_they_are_needed(found: dict[str, Any]) -> None:
    assert found["early"] == []


def test_installed_plugins_are_found(found: dict[str, Any]) -> None:
    assert found["infos"]["finch"] == {
        "name": "finch",
        "distribution": "bird-finch",
        "version": "1.2",
        "prefixes": ["finch", "finch_chat", "shared"],
        "hooks": ["parse_server_string", "target"],
        "error": None,
    }
    parrot = found["infos"]["parrot"]
    assert (parrot["distribution"], parrot["error"]) == ("h2o-relay-parrot", None)
    assert "stream" in parrot["hooks"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wren", "ZeroDivisionError: division by zero"),
        ("stork", "it needs the package 'a_bird_that_never_was', which is not installed"),
        ("crow", "targt"),
        ("rook", "reserved prefix 'https'"),
        ("jay", "two distributions have a plugin of this name: bird-jay and bird-jay2"),
    ],
)
def test_bad_ones_are_left_out_with_their_reason(
    found: dict[str, Any], name: str, words: str
) -> None:
    info = found["infos"][name]
    shown = info["error"].replace("bird-jay2 and bird-jay", "bird-jay and bird-jay2")
    assert words in shown
    assert info["hooks"] == []
    assert info["version"] == "1.2"


def test_the_rest_goes_on(found: dict[str, Any]) -> None:
    read = found["read"]
    assert read["finch:x"] == read["finch_chat:x"] == "finch"
    assert read["owl_chat:x"] == "owl"
    assert read["parrot:h"] == "parrot"
    assert read["vllm:h:80"] == "vllm"
    assert read["http://h"] is None


def test_strings_that_nobody_can_read(found: dict[str, Any]) -> None:
    read = found["read"]
    assert "claimed by" in read["shared:x"]
    assert "finch" in read["shared:x"]
    assert "owl" in read["shared:x"]
    assert "'wren' is left out: ZeroDivisionError" in read["wren:x"]
    assert "'rook' is left out" in read["rook:x"]
    assert "'jay' is left out" in read["jay:x"]
    assert "no backend 'orphan'" in read["orphan:x"]


@pytest.mark.parametrize(
    ("load", "names"),
    [
        ("finch", ["finch"]),
        (" owl , finch ", ["finch", "owl"]),
        ("wren,owl", ["owl", "wren"]),
        ("", []),
        ("nobody", []),
    ],
)
def test_only_what_is_wanted_is_loaded(installed: Path, load: str, names: list[str]) -> None:
    found = discover(installed, load, "shared:x")
    assert sorted(found["infos"]) == names
    readers = [name for name in names if name in ("finch", "owl")]
    if len(readers) == 1:
        assert found["read"]["shared:x"] == readers[0]
    elif not readers:
        assert "no backend 'shared'" in found["read"]["shared:x"]


def test_our_own_plugins_are_installed_and_sound(found: dict[str, Any]) -> None:
    folders = sorted(p.name for p in (ROOT / "plugins").iterdir() if p.is_dir())
    for name in folders:
        assert found["infos"][name]["error"] is None, name
        assert found["infos"][name]["distribution"] == f"h2o-relay-{name.replace('_', '-')}"
