"""`h2o` as a process of its own: start-up, signals, pipes, a terminal, and a relay to talk to."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import orjson
import pytest

from h2o_relay import settings as table
from h2o_relay.settings import Settings
from h2o_relay.testing import ScriptedUpstream
from h2o_relay.testing.scripts import json, sse
from h2o_relay.testing.upstream import Answer, Received

H2O = [sys.executable, "-c", "import sys; from h2o_relay.cli import main; sys.exit(main())"]
HEAVY = ("rich", "aiohttp", "asyncio", "uvicorn", "gradio", "xllamacpp", "prompt_toolkit", "orjson")
BEGUN = "[\u2800-\u28ff]"  # the spinner that stands for an answer until its first word
PATIENCE = 20  # seconds for anything that a process is waited for


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment with the echo plugin and no settings."""
    info = tmp_path / "plugins" / "h2o_relay_echo_test-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: h2o-relay-echo-test\nVersion: 1.0")
    points = "[h2o_relay]\necho = h2o_relay.testing.echo\n[h2o_relay.prefixes]\necho = echo\n"
    (info / "entry_points.txt").write_text(points)
    known = {name for item in fields(Settings) for name in table.env_names(item.name)}
    kept = {k: v for k, v in os.environ.items() if k not in known and not k.startswith("COV_")}
    own = {"H2O_CACHE_DIR": str(tmp_path / "cache"), "H2O_DEFAULT_SERVER": "echo"}
    return kept | own | {"PYTHONPATH": str(info.parent), "TERM": "xterm"}


def run(env: dict[str, str], *words: str, piped: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        [*H2O, *words], env=env, input=piped, capture_output=True, text=True, timeout=PATIENCE
    )
    return done.returncode, done.stdout, done.stderr


def start(env: dict[str, str], *words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*H2O, *words], env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    )


# Start-up


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["run", "--prot", "80"]])
def test_help_and_mistakes_import_nothing_heavy(env: dict[str, str], words: list[str]) -> None:
    code = f"""
import sys
from h2o_relay.cli import main
main({words!r})
print("\\nIMPORTED", *sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=PATIENCE
    )
    modules = done.stdout.partition("\nIMPORTED")[2].split()
    tops = {module.partition(".")[0] for module in modules}
    allowed = {"orjson"} if "--prot" in words else set()  # the tree of errors needs it
    assert tops & set(HEAVY) <= allowed
    assert not [top for top in tops if top.startswith("h2o_relay_")], "a plugin was imported"
    assert "h2o_relay.cli" in modules
    assert len(modules) < 400


def test_the_shell_is_told_what_completes_a_word(env: dict[str, str]) -> None:
    def complete(line: str) -> list[str]:
        asked = {"_H2O_COMPLETE": "bash_complete", "COMP_WORDS": line,
                 "COMP_CWORD": str(len(line.split(" ")) - 1)}  # fmt: skip
        out = run(env | asked)[1]
        return [row.partition(",")[2] for row in out.splitlines()]

    assert complete("h2o che") == ["check"]
    assert "--openai-port" in complete("h2o run --open")
    assert complete("h2o run --ui=False --log-level w") == ["warning"]
    assert complete("h2o check vllm") == ["vllm", "vllm_chat"]
    assert complete("h2o check ech") == ["echo"]


# Signals and pipes


def answering(process: subprocess.Popen[str]) -> str:
    """The first word of an answer that has begun."""
    assert process.stdout is not None
    return process.stdout.read(1)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_end_an_answer_at_once(
    env: dict[str, str], number: signal.Signals, code: int
) -> None:
    with start(env, "ask", "--server", "echo", "!slow 0.3 c d e f g h i j k l m n") as process:
        assert answering(process) == "!"
        process.send_signal(number)
        began = time.monotonic()
        _, err = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - began < 3
    assert process.returncode == code
    assert err.strip() == ""


def test_a_reader_who_has_had_enough_is_no_error(env: dict[str, str]) -> None:
    with start(env, "ask", "--server", "echo", "!slow 0.05 " + "word " * 50) as process:
        assert answering(process) == "!"
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=PATIENCE) != 0


def test_colours_are_for_terminals_that_want_them(env: dict[str, str]) -> None:
    def seen(extra: dict[str, str]) -> bytes:
        terminal = Terminal(env | extra, "check", "--parse-only", "echo", "vlmm:h")
        return terminal.rest()

    assert b"\x1b[31m" in seen({})
    assert b"\x1b[31m" not in seen({"NO_COLOR": "1"})
    assert "\x1b" not in "".join(run(env, "check", "--parse-only", "echo", "vlmm:h")[1:])


# The relay on this machine


async def asking(env: dict[str, str], *words: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *H2O, *words, env=env, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


MODELS = {"object": "list", "data": [{"id": "big", "object": "model", "max_model_len": 4096}]}


async def relay(request: Received, answer: Answer) -> None:
    """An OpenAI-shaped server that wants the key `sesame`."""
    if request.headers.get("authorization") != "Bearer sesame":
        script = json({"error": {"message": "no", "type": "invalid_request_error"}}, 401)
    elif request.path == "/v1/models":
        script = json(MODELS)
    else:
        about = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "big"}
        first = {"index": 0, "delta": {"content": "from the relay"}, "finish_reason": None}
        last = {"index": 0, "delta": {}, "finish_reason": "length"}
        script = sse([orjson.dumps({**about, "choices": [c]}) for c in (first, last)])
    await script(request, answer)


async def test_the_running_relay_is_asked(env: dict[str, str]) -> None:
    async with ScriptedUpstream(relay) as upstream:
        env |= {"H2O_OPENAI_PORT": str(upstream.port), "H2O_API_KEY": "sesame"}
        code, out, err = await asking(env, "ask", "--max-tokens", "3", "hi")
        assert (code, out, err) == (0, "from the relay\n", "")
        assert upstream.requests[-1].json()["model"] == "big"
        code, out, err = await asking(env, "ask", "hi")
        assert (code, out) == (1, "from the relay\n")
        assert err.startswith("h2o: the answer was cut at the model's limit")
        code, out, _ = await asking(env, "models", "list", "--json")
        assert code == 0
        assert orjson.loads(out)[0] == {
            "id": "big", "server": None, "owned_by": None, "max_context": 4096
        }  # fmt: skip
        del env["H2O_API_KEY"]
        code, out, err = await asking(env, "ask", "hi")
        assert (code, out) == (1, "")
        assert err == (
            f"h2o: the relay at {upstream.url}/v1 wants a key\nset H2O_API_KEY, or give --api-key\n"
        )


# chat


def test_chat_through_pipes(env: dict[str, str], tmp_path: Path) -> None:
    said = ["hello", "/models", "/system be kind", "!break 1 x", "/retry", "/sav", "//slashed",
            f"/save {tmp_path / 'a.json'}", f"/save {tmp_path / 'a.json'}", "/model nope",
            "/quit", "never"]  # fmt: skip
    code, out, err = run(env, "chat", "echo:m", piped="\n".join(said))
    assert code == 0
    assert out == "hello\n!break \n!break \n/slashed\n"
    notes = err.splitlines()
    assert notes[0].startswith("m at echo:m")
    assert notes[1:3] == ["* m", "be kind"]
    assert all(note.startswith("h2o: the upstream server reported") for note in notes[3:5])
    assert notes[5] == "h2o: unknown command /sav; did you mean /save?"
    assert notes[6].startswith("saved to ")
    assert notes[7] == f"h2o: {tmp_path / 'a.json'}: File exists"
    assert notes[8] == "h2o: The model `nope` does not exist. Did you mean m?"
    saved = orjson.loads((tmp_path / "a.json").read_bytes())
    assert [message["content"] for message in saved] == [
        "be kind", "hello", "hello", "!break 1 x", "!break ", "/slashed", "/slashed"
    ]  # fmt: skip


def test_ctrl_c_between_pipes_ends_the_chat(env: dict[str, str]) -> None:
    with subprocess.Popen(
        [*H2O, "chat", "echo"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        process.stdin.write("!slow 0.2 c d e f g h i j k l m n o p\nnext\n")
        process.stdin.flush()
        assert answering(process) == "!"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 130


class Terminal:
    """`h2o` in a pseudo-terminal, as a person types and reads."""

    def __init__(self, env: dict[str, str], *words: str) -> None:
        self.seen = b""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        self._fd = ours
        self.process = subprocess.Popen(
            [*H2O, *words], env=env, stdin=theirs, stdout=theirs, stderr=theirs,
            preexec_fn=_take_terminal,
        )  # fmt: skip
        os.close(theirs)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def read_until(self, pattern: str) -> str:
        """What was shown up to where `pattern` (colours left out) matches, which is then past."""
        deadline = time.monotonic() + PATIENCE
        while True:
            plain = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", self.seen).decode("utf-8", "replace")
            match = re.search(pattern, plain)
            if match:
                self.seen = plain[match.end() :].encode()
                return plain[: match.end()]
            if not self._more(deadline):
                raise AssertionError(f"{pattern!r} was not shown, but {plain!r}")

    def rest(self) -> bytes:
        """Everything up to the end of the process."""
        while self._more(time.monotonic() + PATIENCE):
            pass
        self.process.wait(timeout=PATIENCE)
        os.close(self._fd)
        return self.seen

    def _more(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(0, deadline - time.monotonic()))
        try:
            data = os.read(self._fd, 65536) if ready else b""
        except OSError:  # EIO: the other end is closed
            return False
        if b"\x1b[6n" in data:
            self.type("\x1b[1;1R")  # where the cursor is
        self.seen += data
        return bool(data)


def _take_terminal() -> None:
    import fcntl

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal(env: dict[str, str]) -> Iterator[Terminal]:
    found = Terminal(env, "chat", "echo:m")
    try:
        found.read_until(r"m at echo:m.*\n")
        found.read_until(">")
        yield found
    finally:
        if found.process.poll() is None:
            found.process.kill()
            found.rest()


def test_ctrl_c_stops_the_answer_and_not_the_chat(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type("!slow 0.1 c d e f g h i j k l m n o p q r s t u v w x y z\r")
    terminal.read_until(BEGUN)
    terminal.read_until("!slow 0.1 c d")
    terminal.type("\x03")
    assert "z" not in terminal.read_until(r"m · [0-9.]+ s · stopped")
    terminal.read_until(">")
    terminal.type("and **again**\r")
    terminal.read_until(r"again\s+m · 2 tokens · [0-9.]+ s")
    terminal.read_until(">")
    terminal.type(f"/save {tmp_path / 'a.md'}\r")
    terminal.read_until("saved to")
    terminal.read_until(">")
    terminal.type("\x04")
    terminal.rest()
    assert terminal.process.returncode == 0
    text = (tmp_path / "a.md").read_text()
    assert "**m:** !slow 0.1 c d" in text
    assert "*(stopped by the reader)*" in text
    assert text.endswith("**m:** and **again**\n")


def test_ctrl_c_at_the_prompt_clears_the_line(terminal: Terminal, env: dict[str, str]) -> None:
    terminal.type("half a thou")
    terminal.read_until("thou")
    terminal.type("\x03")
    terminal.type("whole\r")
    assert "half" not in terminal.read_until(r"whole\s+m · 1 tokens")
    terminal.read_until(">")
    terminal.type("\x03")
    terminal.read_until("Ctrl-D leaves")
    terminal.type("/quit\r")
    terminal.rest()
    assert terminal.process.returncode == 0
    history = Path(env["H2O_CACHE_DIR"]) / "chat_history"
    assert "+whole\n" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_a_terminal_that_goes_away_ends_the_chat(terminal: Terminal) -> None:
    terminal.type("!slow 0.2 c d e f g h i j k l m n o p q r s t u v\r")
    terminal.read_until(BEGUN)
    terminal.read_until("!slow 0.2 c")
    terminal.process.send_signal(signal.SIGTERM)
    terminal.rest()
    assert terminal.process.returncode == 143
