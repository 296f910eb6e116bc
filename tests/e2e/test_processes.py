"""What `h2o run` does as a process: engines that die, clients that go, ports, signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from .conftest import KEY, MODEL, Relay, h2o, relay

pytestmark = pytest.mark.e2e
LONG = {
    "messages": [{"role": "user", "content": "Count from one to a thousand."}],
    "max_tokens": 1500,
    "temperature": 0,
    "ignore_eos": True,
}


def until(condition: Callable[[], object], within: float) -> float:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < within, f"not true within {within} s"
        time.sleep(0.02)
    return time.monotonic() - start


def engines_of(relay_pid: int) -> list[int]:
    """Process ids of the engines that a relay has started."""
    found = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True)
    rows = [line.split(None, 2) for line in found.stdout.splitlines()[1:]]
    return [
        int(pid) for pid, parent, command in rows
        if int(parent) == relay_pid and "h2o_relay_llama_cpp.server" in command
    ]  # fmt: skip


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        Path(f"/proc/{pid}/stat").exists() is False
        or " Z " not in Path(f"/proc/{pid}/stat").read_text()
    )


def busy_slots(server: str) -> int:
    """How many of llama.cpp's slots are at work."""
    url = f"{server.removesuffix('/v1')}/slots"
    slots = httpx.get(url, headers={"authorization": f"Bearer {KEY}"}).json()
    return sum(1 for slot in slots if slot["is_processing"])


def leave(url: str, model: str, stream: bool, read: int) -> None:
    """Ask for a long answer and go, without a word, after `read` bytes of it."""
    import json

    host, port = url.removeprefix("http://").split(":")
    body = json.dumps({"model": model, "stream": stream, **LONG}).encode()
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        got = 0
        while got < read:
            data = client.recv(4096)
            assert data, "the relay closed the connection"
            got += len(data)
        if not read:
            time.sleep(0.5)


def test_client_that_leaves_a_stream_frees_the_servers_slot(
    remote: Relay, llama_server: str
) -> None:
    leave(remote.url, "smollm2", stream=True, read=2000)
    assert until(lambda: busy_slots(llama_server) == 0, within=2) < 2


@pytest.mark.parametrize("stream", [True, False])
def test_client_that_leaves_the_embedded_model_frees_its_slot(
    embedded: Relay, stream: bool
) -> None:
    """A 1500-token answer takes over ten seconds; a second one that must not wait for four such
    answers shows that their slots were given back."""
    for _ in range(4):
        leave(embedded.url, MODEL, stream=stream, read=2000 if stream else 0)
    start = time.monotonic()
    answer = httpx.post(
        f"{embedded.url}/v1/chat/completions", timeout=60,
        json={"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3},
    )  # fmt: skip
    assert answer.status_code == 200
    assert time.monotonic() - start < 5


def test_engine_that_is_killed_takes_nothing_along(model_file: Path) -> None:
    with relay() as running:
        (engine,) = engines_of(running.process.pid)
        os.kill(engine, signal.SIGKILL)
        assert httpx.get(f"{running.url}/health").json()["status"] == "ok"

        def answers() -> bool:
            asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
            answer = httpx.post(f"{running.url}/v1/chat/completions", json=asked, timeout=30)
            assert answer.status_code in (200, 502, 503, 504)
            assert answer.status_code == 200 or answer.json()["error"]["code"]
            return answer.status_code == 200

        until(answers, within=20)
        assert engines_of(running.process.pid) != [engine]


def test_relay_that_is_killed_leaves_no_engine(model_file: Path) -> None:
    with relay() as running:
        (engine,) = engines_of(running.process.pid)
        running.process.kill()
        running.process.wait(5)
        until(lambda: not alive(engine), within=5)


def test_ctrl_c_ends_it_quietly(model_file: Path) -> None:
    with relay() as running:
        engines = engines_of(running.process.pid)
        start = time.monotonic()
        assert running.stop() in (0, 130)
        assert time.monotonic() - start < 8
        assert "Traceback" not in running.output
        until(lambda: not any(map(alive, engines)), within=5)


def test_printed_curl_line_streams_an_answer(embedded: Relay) -> None:
    line = embedded.wait_for(r"(curl -N .*)")[1]
    out = subprocess.run(["bash", "-c", f"{line} -sS"], capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    assert out.stdout.startswith("data: {")
    assert out.stdout.endswith("data: [DONE]\n\n")
    assert out.stdout.count("data: ") > 3


def test_taken_default_port_moves_on_and_says_so(llama_server: str) -> None:
    command = [h2o(), "run", "--no-ui", f"vllm_chat:{llama_server}"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    running = [Relay(first), Relay(second)]
    try:
        ports = {one.wait_for(r"API +http://127.0.0.1:(\d+)/v1")[1] for one in running}
        assert len(ports) == 2
        assert any(re.search(r"Port \d+ is taken, using \d+", one.output) for one in running)
    finally:
        for one in running:
            one.stop()


def test_port_that_was_asked_for_and_is_taken_is_an_error(embedded: Relay) -> None:
    port = embedded.url.rsplit(":", 1)[1]
    out = subprocess.run(
        [h2o(), "run", "--no-ui", f"--openai-port={port}", "vllm_chat:http://127.0.0.1:9/v1"],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert out.returncode == 2
    assert port in out.stderr
    assert "Traceback" not in out.stderr
    assert len(out.stderr.strip().splitlines()) <= 2
