"""Listening sockets: a default that is taken moves on, what was asked for does not."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from unittest import mock

import pytest

from h2o_relay.settings import SettingError, Settings, about
from h2o_relay.testing.settings import quick
from h2o_relay_proxy import ports
from h2o_relay_proxy.ports import address, bind, listen
from h2o_relay_proxy.server import check_exposure

FLAG = "--openai-port"


@contextlib.contextmanager
def taken(count: int = 1) -> Iterator[int]:
    """The first of so many ports in a row that are taken."""
    with contextlib.ExitStack() as stack:
        while True:
            with contextlib.ExitStack() as row:
                first = row.enter_context(contextlib.closing(bind("127.0.0.1", 0)))
                port = first.getsockname()[1]
                try:
                    for n in range(1, count):
                        row.enter_context(contextlib.closing(bind("127.0.0.1", port + n)))
                except (OSError, OverflowError):
                    continue
                stack.push(row.pop_all())
                break
        yield port


@contextlib.contextmanager
def default_is(port: int) -> Iterator[Settings]:
    """Settings whose port is their default, which is this one."""
    real = about("openai_port")
    fake = mock.Mock(wraps=real, default=port)
    with mock.patch.object(ports, "about", return_value=fake):
        yield quick(openai_port=port)


def test_a_default_port_moves_on(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        taken(3) as port,
        default_is(port) as settings,
        contextlib.closing(listen(settings, "openai_port")) as found,
    ):
        moved = found.getsockname()[1]
    assert moved >= port + 3
    said = capsys.readouterr()
    assert str(port) in said.err
    assert str(moved) in said.err
    assert FLAG in said.err
    assert said.out == ""


def test_a_free_default_port_is_taken_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    with taken() as port:
        pass
    with default_is(port) as settings, contextlib.closing(listen(settings, "openai_port")) as found:
        assert found.getsockname() == ("127.0.0.1", port)
        assert found.getblocking() is False
    assert capsys.readouterr() == ("", "")


def test_a_port_that_was_asked_for_stays() -> None:
    with taken() as port, pytest.raises(SettingError) as error:
        listen(quick(openai_port=port), "openai_port")
    message = str(error.value)
    assert str(port) in message
    assert FLAG in message
    assert "\n" not in message


def test_no_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "TRIES", 3)
    with (
        taken(3) as port,
        default_is(port) as settings,
        pytest.raises(SettingError, match=f"no free port from {port} on.*{FLAG}"),
    ):
        listen(settings, "openai_port")


def test_the_last_port_there_is() -> None:
    with default_is(65535) as settings, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(contextlib.closing(bind("127.0.0.1", 65535)))
        with pytest.raises(SettingError, match="no free port"):
            listen(settings, "openai_port")


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a b", "::gg"])
def test_an_address_that_cannot_be_used(host: str) -> None:
    with pytest.raises(SettingError, match="--host") as error:
        listen(quick(host=host, openai_port=0), "openai_port")
    assert "\n" not in str(error.value)


def test_addresses() -> None:
    for host, shown in [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"),
                        ("::", "[::1]"), ("localhost", None)]:  # fmt: skip
        try:
            made = bind(host, 0)
        except OSError:
            assert ":" in host, "only IPv6 may be missing"
            continue
        with contextlib.closing(made):
            port = made.getsockname()[1]
            url = address(made)
            assert url.endswith(f":{port}")
            if shown:
                assert url == f"http://{shown}:{port}"
            with socket.create_connection((url[7 : url.rindex(":")].strip("[]"), port), 1):
                pass


def test_beyond_loopback_only_with_a_key() -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        check_exposure(quick(host=host))
    for host in ("0.0.0.0", "::", "192.0.2.1", ""):
        with pytest.raises(SettingError, match="--allow-open"):
            check_exposure(quick(host=host))
        check_exposure(quick(host=host, api_key="k"))
        check_exposure(quick(host=host, allow_open=True))
