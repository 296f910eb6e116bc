"""A relay as it is installed and started: what it listens on, whom it calls, what it leaves."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from h2o_relay.testing.scripts import json
from h2o_relay.testing.upstream import ScriptedUpstream

from ..proxy.kit import completion, listing, serving
from .process import Running, h2o

pytestmark = [
    pytest.mark.timeout(200),
    pytest.mark.skipif(sys.platform != "linux", reason="what a process does is read in /proc"),
]
RUN = ("run", "--port", "0", "--openai-port", "0")
LISTENS = "0A"  # of the states of a socket in /proc/net/tcp
AWAY = re.compile(r"connect\(\d+, \{sa_family=AF_INET6?, [^}]*?(?:inet_addr\(\"|\"(?=[0-9a-f:]+\"))"
                  r"([0-9a-f.:]+)\"")  # fmt: skip


def sockets_of(pids: list[int]) -> set[str]:
    """The inodes of the sockets that these processes hold."""
    found = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            target = str(link.readlink()) if link.is_symlink() else ""
            found |= set(re.findall(r"socket:\[(\d+)\]", target))
    return found


def listening(pids: list[int]) -> dict[int, str]:
    """Port to address of all TCP sockets that these processes listen on."""
    ours, found = sockets_of(pids), {}
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENS and words[9] in ours:
                host, _, port = words[1].partition(":")
                raw = b"".join(struct.pack("=I", int(host[n : n + 8], 16))
                               for n in range(0, len(host), 8))  # fmt: skip
                found[int(port, 16)] = socket.inet_ntop(family, raw)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A relay with its page, as it is without further words but who may sign in."""
    folder = tmp_path_factory.mktemp("plain")
    async with ScriptedUpstream(serving(json(completion()), listing("m"))) as upstream:
        server = f"vllm_chat:{upstream.url}/v1"
        env = {"H2O_AUTH": "[('ann', 'pass word 1')]"}
        async with h2o(folder, *RUN, server, env=env) as relay:
            await relay.says(r"chat UI is ready")
            yield relay


@pytest.mark.asyncio(loop_scope="module")
async def test_s01_only_this_machine_is_listened_to(plain: Running) -> None:
    found = listening(plain.family())
    assert len(found) >= 2  # the API and the page
    assert set(found.values()) <= {"127.0.0.1", "::1"}


@pytest.mark.asyncio(loop_scope="module")
async def test_s51_all_that_a_relay_keeps_is_its_users(plain: Running) -> None:
    data = plain.folder / "data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    files = [path for path in data.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_s02_beyond_it_only_with_a_key(host: str, tmp_path: Path) -> None:
    async with h2o(tmp_path, *RUN, "--no-ui", "--host", host, "vllm:127.0.0.1:9") as relay:
        assert await relay.ended() == 2
        assert "--allow-open" in relay.said
    env = {"H2O_HOST": host, "H2O_API_KEY": "None"}
    async with h2o(tmp_path, *RUN, "--no-ui", "vllm:127.0.0.1:9", env=env) as relay:
        assert await relay.ended() == 2


async def test_s02_whoever_insists_is_warned(tmp_path: Path) -> None:
    words = (*RUN, "--no-ui", "--host", "0.0.0.0", "--allow-open", "vllm:127.0.0.1:9")
    async with h2o(tmp_path, *words) as relay:
        await relay.address("API")
        await relay.says("(?i)warning: .*--allow-open.*anybody")


async def test_https_for_the_api_and_the_page(tmp_path: Path) -> None:
    import ssl

    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("relay.example").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "both.pem"
    )
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    more = {"sni_hostname": "relay.example"}
    async with ScriptedUpstream(serving(json(completion()), listing("m"))) as upstream:
        server = f"vllm_chat:{upstream.url}/v1"
        words = (*RUN, "--ssl_certfile=both.pem", "--root_path=/relay", server)
        async with h2o(tmp_path, *words) as relay:
            api = await relay.address("API")
            page = (await relay.says(r"chat UI is ready: (\S+)"))[1]
            assert api.startswith("https://127.0.0.1:")
            assert page.startswith("https://127.0.0.1:")
            async with httpx.AsyncClient(verify=context, trust_env=False) as client:
                for url in (f"{api}/v1/models", f"{api}/relay/v1/models"):
                    found = await client.get(url, extensions=more)
                    assert found.json()["data"][0]["id"] == "m"
                for path in ("/", "/relay/"):
                    found = await client.get(f"{page}{path}", extensions=more)
                    assert found.status_code == 200
                config = await client.get(f"{page}/relay/config", extensions=more)
                assert config.json()["root"].endswith("/relay")
            assert set(listening(relay.family()).values()) <= {"127.0.0.1"}


def traced() -> tuple[str, ...]:
    """strace, if it may trace here; with a filter in the kernel where it has one, for else it stops
    the process at every call.
    """
    found = shutil.which("strace") or "strace"
    for words in ((found, "--seccomp-bpf"), (found,)):
        command = [*words, "-f", "-e", "trace=connect", "true"]
        with contextlib.suppress(OSError):
            if subprocess.run(command, capture_output=True).returncode == 0:
                return words
    return ()


@pytest.mark.skipif(not traced(), reason="strace is not here, or may not trace")
async def test_s49_nobody_is_called_but_configured_servers(tmp_path: Path) -> None:
    """No measuring, no fonts, no look for news: neither the relay nor its page."""
    log = tmp_path / "calls"
    before = (*traced(), "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(log))
    async with ScriptedUpstream(serving(json(completion()), listing("m"))) as upstream:
        server = f"vllm_chat:{upstream.url}/v1"
        async with h2o(tmp_path, *RUN, server, before=before) as relay:
            page = (await relay.says(r"chat UI is ready: (\S+)"))[1]
            async with httpx.AsyncClient(trust_env=False) as client:
                assert (await client.get(page)).status_code == 200
                assert (await client.get(f"{page}/config")).status_code == 200
    called = AWAY.findall(log.read_text(errors="replace"))
    assert "127.0.0.1" in called
    assert set(called) <= {"127.0.0.1", "::1"}
    assert "sin_port=htons(53)" not in log.read_text(errors="replace")


def test_s49_calls_are_seen() -> None:
    lines = (
        'connect(7, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("8.8.8.8")}, 16)',
        'connect(7, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, "26:47::1", &x',
        'connect(3, {sa_family=AF_UNIX, sun_path="/x"}, 110) = -1',
    )
    assert AWAY.findall("\n".join(lines)) == ["8.8.8.8", "26:47::1"]


async def test_s35_keys_are_not_echoed(tmp_path: Path) -> None:
    env = {"H2O_API_KEY": "canary-key-1", "ADMIN_PASS": "canary-key-2",
           "H2O_INFERENCE_SERVER": "vllm_chat:127.0.0.1:9:/v1:canary-key-3"}  # fmt: skip
    for words in (("run", "--help"), ("config", "show"), ("check", "--parse-only"), ("models",),
                  ("status",), ("keys", "list")):  # fmt: skip
        async with h2o(tmp_path, *words, env=env) as command:
            await command.ended()
        assert "canary" not in command.said, words
