"""What the sources and the installation may hold."""

from __future__ import annotations

import ast
import gc
import re
import stat
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pytest

from h2o_relay.plugins import Plugins
from h2o_relay_proxy import chat_ui

from .process import H2O

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("core", "proxy", "ui", "plugins", "examples", "docs")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "tests" not in path.parts
]
MODULES = frozenset({"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal",
                     "torch", "xmlrpc", "telnetlib", "ftplib", "tarfile"})  # fmt: skip
CALLS = frozenset({"eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load",
                   "yaml.full_load", "os.system", "os.popen", "torch.load", "pickle.loads",
                   "subprocess.getoutput", "tempfile.mktemp"})  # fmt: skip
LITERALS = frozenset({
    "core/h2o_relay/lock/source.py", "core/h2o_relay/prompts/prompt_dict.py",
    "core/h2o_relay/commands/prompt_input.py", "ui/h2o_relay_ui/h2ogpt/literal.py",
    "plugins/gradio_remote/h2o_relay_gradio_remote/h2ogpt.py",
})  # fmt: skip
"""Where h2oGPT writes Python literals and no JSON: bounded, they build values and run nothing."""
FLOORS = {"starlette": "1.0.1", "jinja2": "3.1.6", "h11": "0.16", "python-multipart": "0.0.27",
          "gradio": "6.31", "aiohttp": "3.13", "pyyaml": "6.0.2"}  # fmt: skip
"""The first releases without the advisories that the checklist names (S23, S28, S52)."""


@cache
def tree(path: Path) -> ast.AST:
    gc.disable()  # what a finalizer does meanwhile confuses the parser of Python 3.11
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        gc.enable()


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def test_s25_nothing_in_the_tree_runs_what_it_reads() -> None:
    assert len(SOURCES) > 300
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        assert not MODULES & set(imported(path)), name
        for called, node in calls(path):
            assert called not in CALLS, f"{name}:{node.lineno} calls {called}"
            keywords = {word.arg: word.value for word in node.keywords}
            shell = keywords.get("shell")
            assert shell is None or ast.unparse(shell) == "False", f"{name}:{node.lineno}"
            assert not called.endswith("create_subprocess_shell"), f"{name}:{node.lineno}"


def test_s25_python_literals_are_read_where_h2ogpt_writes_them() -> None:
    found = {
        path.relative_to(ROOT).as_posix() for path in SOURCES
        if any(called.endswith("literal_eval") for called, _ in calls(path))
    }  # fmt: skip
    assert found == LITERALS


def test_s09_statements_are_never_put_together_from_text() -> None:
    """Values are bound; what a statement is made of stands in the source."""
    for path in SOURCES:
        for called, node in calls(path):
            if called.rpartition(".")[2] in ("text", "execute", "exec_driver_sql", "executescript"):
                told = node.args[0] if node.args else None
                joined = isinstance(told, ast.BinOp) or (
                    isinstance(told, ast.Call) and ast.unparse(told.func).endswith(".format")
                )
                parts = told.values if isinstance(told, ast.JoinedStr) else []
                joined |= any(
                    isinstance(part, ast.FormattedValue) and not ast.unparse(part.value).isupper()
                    for part in parts  # a constant of the source may stand there
                )
                assert not joined, f"{path.name}:{node.lineno}: {ast.unparse(node)[:100]}"


def test_s43_gradio_is_mounted_closed() -> None:
    mounts = [node for called, node in calls(ROOT / "ui/h2o_relay_ui/app.py")
              if called == "gr.mount_gradio_app"]  # fmt: skip
    [mount] = mounts
    told = {word.arg: ast.unparse(word.value) for word in mount.keywords}
    assert told["show_error"] == told["ssr_mode"] == told["mcp_server"] == "False"
    assert told["allowed_paths"] == told["footer_links"] == "[]"
    assert told["enable_monitoring"] == told["pwa"] == told["run_history"] == "False"
    assert told["max_file_size"] == "LARGEST_FILE"
    assert {"'docs_url': None", "'openapi_url': None"} <= set(told["app_kwargs"][1:-1].split(", "))
    assert chat_ui.ENVIRONMENT["GRADIO_ANALYTICS_ENABLED"] == "False"
    for path in (ROOT / "ui").rglob("*.py"):
        for called, node in calls(path):
            assert not called.endswith((".launch", "networking.setup_tunnel")), path.name
            words = {word.arg: word.value for word in node.keywords}
            if called == "gr.Blocks":
                assert ast.unparse(words["analytics_enabled"]) == "False", path.name
            if called.endswith(".queue") and "default_concurrency_limit" in words:
                assert ast.unparse(words["api_open"]) == "False"


def test_s46_plugins_come_from_what_is_installed_alone(tmp_path: Path) -> None:
    """A folder that looks like an installed plugin, where the relay is started and where its data
    is: neither is looked at.
    """
    for place in (tmp_path, tmp_path / "data", tmp_path / "plugins"):
        place.mkdir(exist_ok=True)
        (place / "evil_relay.py").write_text("open('/dev/tty', 'w')\nraise SystemExit('evil')\n")
        (place / "h2o_relay.py").write_text("raise SystemExit('evil')\n")
        info = place / "evil_relay-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil-relay\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[h2o_relay]\nevil = evil_relay\n")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "H2O_SAVE_DIR": str(tmp_path / "data")}
    for words in (("plugin", "list"), ("check", "--parse-only", "vllm:127.0.0.1:9")):
        done = subprocess.run(
            [H2O, *words], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=50
        )
        assert done.returncode == 0, done.stderr
        assert "evil" not in done.stdout + done.stderr


def test_s46_the_pages_process_imports_nothing_from_where_it_is_started() -> None:
    [started] = [node for called, node in calls(ROOT / "proxy/h2o_relay_proxy/chat_ui.py")
                 if called == "EngineSpec"]  # fmt: skip
    argv = next(ast.unparse(word.value) for word in started.keywords if word.arg == "argv")
    assert "[sys.executable, '-P', '-m', MODULE" in argv


def test_s47_only_the_plugins_that_are_named_are_loaded() -> None:
    assert {info.name for info in Plugins.discover("vllm").infos()} == {"vllm"}
    for info in Plugins.discover(None).infos():
        assert info.version
        assert info.distribution.startswith("h2o-relay")


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in re.findall(r"\d+", text)[:3])


@pytest.mark.parametrize("name", FLOORS)
def test_s52_what_is_installed_has_no_known_hole(name: str) -> None:
    assert numbers(version(name)) >= numbers(FLOORS[name])


def test_s52_the_floors_are_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    named = {}
    for line in asked:
        if match := re.match(r"([\w-]+)(?:\[.*\])?>=([\d.]+)", line):
            named[match[1]] = match[2]
    for name, floor in FLOORS.items():
        assert numbers(named[name]) >= numbers(floor), name


DISTRIBUTIONS = (ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml")))


@pytest.mark.parametrize("folder", DISTRIBUTIONS, ids=lambda path: path.relative_to(ROOT).name)
def test_s48_nothing_runs_because_it_was_installed(folder: Path, tmp_path: Path) -> None:
    """A wheel is files alone, but what builds it could be a program, and a `.pth` is run at every
    start of Python.
    """
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["build-system"]["build-backend"] == "hatchling.build"
    assert [numbers(line)[:1] for line in project["build-system"]["requires"]] == [(1,)]
    assert "hooks" not in str(project["tool"]["hatch"])
    assert not {"setup.py", "setup.cfg", "hatch_build.py"} & {p.name for p in folder.iterdir()}
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=folder, check=True, capture_output=True, timeout=50)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [entries] = [name for name in names if name.endswith("/entry_points.txt")]
        told = archive.read(entries).decode()
    assert not [name for name in names if name.endswith((".pth", ".so", ".pyd", ".exe"))]
    assert not [name for name in names if name.startswith(("sitecustomize", "usercustomize"))]
    for group in re.findall(r"^\[(.+)\]$", told, re.MULTILINE):
        ours = group in ("console_scripts", "pytest11") or group.partition(".")[0] == "h2o_relay"
        assert ours, f"what is in {group} runs in somebody else's program"


def test_s48_what_is_installed_here_is_pinned() -> None:
    """To one version of each package. Hashes come with the first release."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    loose = [line for line in lines if not re.match(r"[a-z0-9.-]+==[^\s,*]+( ;.*)?$", line)]
    assert (loose, len(lines) > 100) == ([], True)
    commands = [line for line in (ROOT / "Makefile").read_text().splitlines()
                if "$(PIP) install" in line]  # fmt: skip
    loose = [line for line in commands if "-c constraints.txt" not in line]
    assert all(line.strip().endswith("install uv") for line in loose), "uv makes the pins"


def test_s51_what_we_write_is_the_users_own(tmp_path: Path) -> None:
    """A folder for data that does not exist yet is made for its user alone, whatever the umask."""
    code = (
        "import asyncio, os, sys; os.umask(0)\n"
        "from pathlib import Path\n"
        "from h2o_relay.store import Store\n"
        "async def main():\n"
        "    async with Store('sqlite:///' + sys.argv[1] + '/data/relay.db'): pass\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True,
                          text=True, timeout=50)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    for path in (tmp_path / "data").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
