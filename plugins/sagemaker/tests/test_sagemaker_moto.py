"""Against moto's SageMaker runtime, which knows InvokeEndpoint, with canned results."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from h2o_relay.errors import RelayError, UpstreamError
from h2o_relay.kernel import Kernel
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Received
from h2o_relay_sagemaker.standin import Llama2Container, OpenAIContainer, TgiContainer

from .sagemaker_kit import ALONE, HELLO, STRING, in_environment

PATIENT = quick(answer_timeout=30.0, first_byte_timeout=30.0, connect_timeout=10.0)
STARTS_WITHIN = 100.0  # seconds; moto imports every service it has
CHAT = Received("POST", "/x", {}, orjson.dumps({"messages": HELLO}), 0.0)
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(150),
    pytest.mark.skipif(
        not (find_spec("moto") and find_spec("flask_cors")), reason="moto[server] is not installed"
    ),
]


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of moto's server, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    log = Path(tmp_path_factory.mktemp("moto")) / "log"
    with log.open("wb") as out:
        server = subprocess.Popen([sys.executable, "-c", start], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        while not answers(port):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def answers(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0


def queue(url: str, answer: Any) -> None:
    """The result of the next request."""
    results = [{"Body": orjson.dumps(answer).decode(), "ContentType": "application/json"}]
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.request(
        "POST",
        "/moto-api/static/sagemaker/endpoint-results",
        orjson.dumps({"region": "us-east-2", "results": results}),
        {"content-type": "application/json"},
    )
    assert connection.getresponse().status == 201
    connection.close()


@pytest.mark.parametrize(
    ("text", "container"),
    [
        (STRING, OpenAIContainer()),
        (f"{STRING}:llama2", Llama2Container()),
        ("sagemaker:test-model:us-east-2", TgiContainer()),
    ],
)
async def test_whole_answers(moto: str, text: str, container: Any) -> None:
    queue(moto, container.whole(CHAT, ["Hi from ", "moto"], "stop"))
    kind = "text" if text.startswith("sagemaker:") else "chat"
    said = {"prompt": "Say it."} if kind == "text" else {"messages": HELLO}
    with in_environment(PATIENT, moto):
        async with Kernel(PATIENT, servers=[text], plugins=ALONE) as kernel:
            await kernel.settled(30)
            completion = await kernel.generate(kind, {"model": "test-model", **said})  # type: ignore[arg-type]
    assert completion.text == "Hi from moto"


async def test_what_moto_does_not_have(moto: str) -> None:
    """Its default body is no answer, and the response stream is not there."""
    params = {"model": "test-model", "messages": [*HELLO, *HELLO]}
    with in_environment(PATIENT, moto):
        async with Kernel(PATIENT, servers=[STRING], plugins=ALONE) as kernel:
            await kernel.settled(30)
            with pytest.raises(UpstreamError, match="not JSON"):
                await kernel.generate("chat", params)
            with pytest.raises(RelayError) as caught:
                async with kernel.stream("chat", {**params, "stream": True}):
                    pass
    assert caught.value.status == 404
