"""Sessions: signed, over a restart, ended; and the files that they need."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from h2o_relay_ui.signin import files
from h2o_relay_ui.signin.files import Ended, read_or_make
from h2o_relay_ui.signin.sessions import DAY, LIFE, Session, Sessions

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="file modes are POSIX's")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOOK_AGAIN", 0.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(tmp_path: Path, clock: Clock) -> Sessions:
    return Sessions(tmp_path, clock)


def test_a_session_is_read_as_it_was_written(sessions: Sessions) -> None:
    one = sessions.begin("user", 'Ann "ü" ;=, 日本', "mark", "key")
    text = sessions.written(one)
    assert sessions.read(text) == one
    assert text.isascii()
    assert not set(text) & set(' ",;\\\r\n')


def test_it_outlives_a_restart(sessions: Sessions, tmp_path: Path, clock: Clock) -> None:
    text = sessions.written(sessions.begin("user", "ann"))
    again = Sessions(tmp_path, clock)
    assert again.cookie == sessions.cookie
    found = again.read(text)
    assert found is not None
    assert found.name == "ann"


def test_another_relay_does_not_know_it(sessions: Sessions, tmp_path: Path, clock: Clock) -> None:
    text = sessions.written(sessions.begin("user", "ann"))
    other = Sessions(tmp_path / "other", clock)
    assert other.read(text) is None
    assert other.cookie != sessions.cookie


def test_nothing_about_it_can_be_changed(sessions: Sessions) -> None:
    text = sessions.written(sessions.begin("user", "ann"))
    assert sessions.read(text) is not None
    for at in range(len(text)):
        for letter in ("A", "B", "."):
            changed = text[:at] + letter + text[at + 1 :]
            found = sessions.read(changed)
            # The last letter of base64 has bits that mean nothing.
            assert changed == text or found is None or found == sessions.read(text)


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.", "1..", "1.e30.", "2.a.b", "1.é.é", "1.W10.W10", "1." + "A" * 9000, "\x00",
     "1.a.b.c"],
)  # fmt: skip
def test_what_is_no_session(sessions: Sessions, text: str) -> None:
    assert sessions.read(text) is None


def test_a_signed_text_that_is_no_session(sessions: Sessions) -> None:
    for broken in (Session("x", "admin"), Session("x", [])):  # type: ignore[arg-type]
        assert sessions.read(sessions.written(broken)) is None


def test_it_ends_by_itself_unless_the_page_is_opened(sessions: Sessions, clock: Clock) -> None:
    one = sessions.begin("user", "ann")
    assert sessions.renewed(one) is None
    clock.now += LIFE["user"] - 10
    renewed = sessions.renewed(one)
    assert renewed is not None
    assert (renewed.id, renewed.since) == (one.id, one.since)
    clock.now += 20
    assert sessions.read(sessions.written(one)) is None
    assert sessions.read(sessions.written(renewed)) == renewed


def test_guests_are_forgotten_soon(sessions: Sessions, clock: Clock) -> None:
    text = sessions.written(sessions.begin("guest", "guest"))
    clock.now += DAY + 1
    assert sessions.read(text) is None


def test_who_signs_out_is_out_over_a_restart(
    sessions: Sessions, tmp_path: Path, clock: Clock
) -> None:
    one, other = sessions.begin("user", "ann"), sessions.begin("user", "ann")
    clock.now += 5 * DAY
    renewed = sessions.renewed(one)
    assert renewed is not None
    sessions.end(one)
    for at in (sessions, Sessions(tmp_path, clock)):
        assert at.read(at.written(one)) is None
        assert at.read(at.written(renewed)) is None
        assert at.read(at.written(other)) == other


def test_another_process_is_told(sessions: Sessions, tmp_path: Path, clock: Clock) -> None:
    beside = Sessions(tmp_path, clock)
    one, two = sessions.begin("user", "ann"), sessions.begin("user", "bob")
    assert beside.read(sessions.written(one)) == one
    sessions.end(one)
    assert beside.read(sessions.written(one)) is None
    beside.end(two)
    assert sessions.read(sessions.written(two)) is None
    assert sessions.read(sessions.written(one)) is None


def test_a_new_password_ends_the_sessions_of_its_user(
    sessions: Sessions, tmp_path: Path, clock: Clock
) -> None:
    ann, bob = sessions.begin("user", "ann"), sessions.begin("user", "bob")
    clock.now += 5
    renewed = sessions.renewed(ann) or ann
    sessions.end_all("ann")
    clock.now += 5
    after = sessions.begin("user", "ann")
    for at in (sessions, Sessions(tmp_path, clock)):
        assert at.read(at.written(ann)) is None
        assert at.read(at.written(renewed)) is None
        assert at.read(at.written(bob)) == bob
        assert at.read(at.written(after)) == after


def test_what_was_ended_is_forgotten_in_time(tmp_path: Path, clock: Clock) -> None:
    ended = Ended(tmp_path / "x.json", clock)
    ended.add("one", clock.now + 10)
    ended.add_name("ann", 10)
    clock.now += 11
    ended.add("two", clock.now + 10)
    assert (tmp_path / "x.json").read_text() == f'{{"ids":{{"two":{clock.now + 10}}},"names":{{}}}}'


def test_what_was_ended_is_bounded(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "KEPT", 5)
    ended = Ended(tmp_path / "x.json", clock)
    for n in range(20):
        ended.add(f"s{n}", clock.now + 10)
    assert [ended.has(f"s{n}", "", 0.0) for n in range(20)] == [False] * 15 + [True] * 5


@POSIX
def test_the_files_are_the_users_own(sessions: Sessions, tmp_path: Path) -> None:
    sessions.end(sessions.begin("user", "ann"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"session.key": 0o600, "signed-out.json": 0o600}


@POSIX
def test_a_key_that_others_can_read_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "session.key"
    key = read_or_make(path)
    path.chmod(0o644)
    assert read_or_make(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_that_is_none_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "session.key"
    for text in ("", "xyz", "00" * 8):
        path.write_text(text)
        assert len(read_or_make(path)) == 32
        assert path.read_text() == text
    assert len(caplog.records) == 3


def test_without_a_place_it_all_lasts_as_long_as_the_process(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    for folder in (None, tmp_path / "file" / "below"):
        sessions = Sessions(folder, clock)
        one, two = sessions.begin("user", "ann"), sessions.begin("user", "ann")
        sessions.end(one)
        assert sessions.read(sessions.written(one)) is None
        assert sessions.read(sessions.written(two)) == two
        assert Sessions(folder, clock).read(sessions.written(two)) is None


def test_a_broken_list_of_what_was_ended_is_told(
    sessions: Sessions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "signed-out.json").write_text('{"ids": []}')
    one = sessions.begin("user", "ann")
    assert sessions.read(sessions.written(one)) == one
    assert "cannot be read" in caplog.text


def test_marks_tell_secrets_apart_and_do_not_tell_them(
    sessions: Sessions, tmp_path: Path, clock: Clock
) -> None:
    mark = sessions.mark("secret-canary")
    assert mark == sessions.mark("secret-canary") == Sessions(tmp_path, clock).mark("secret-canary")
    assert mark != sessions.mark("secret-canarx")
    assert mark != Sessions(None, clock).mark("secret-canary")
    assert "canary" not in mark
