"""Keys of callers: the relay's own, h2oGPT's list, and the file that it may be."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.api_keys import LOOK_AGAIN, ApiKeys
from h2o_relay.hosts import is_keyed
from h2o_relay.settings import SettingError
from h2o_relay.testing.settings import quick

OWN, ONE, TWO = "sk-own-canary-1", "sk-one-canary-2", "sk-two-canary-3"
BOTH = f"['{ONE}', '{TWO}']"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def keys(clock: Clock | None = None, **changes: Any) -> ApiKeys:
    return ApiKeys(quick(**changes), clock or Clock())


def good(found: ApiKeys) -> set[str]:
    return {key for key in (OWN, ONE, TWO, "sk-other") if found.check(key)}


# h2oGPT's rules, but that a list alone holds.
RULES = [
    ({}, False, False, set()),
    ({"h2ogpt_api_keys": "[]"}, False, False, set()),
    ({"api_key": OWN}, True, True, {OWN}),
    ({"api_key": OWN, "h2ogpt_api_keys": BOTH}, True, True, {OWN, ONE, TWO}),
    ({"h2ogpt_api_keys": BOTH}, True, True, {ONE, TWO}),
    ({"h2ogpt_api_keys": BOTH, "enforce_h2ogpt_api_key": True}, True, True, {ONE, TWO}),
    ({"h2ogpt_api_keys": BOTH, "enforce_h2ogpt_api_key": False}, False, False, {ONE, TWO}),
    ({"api_key": OWN, "enforce_h2ogpt_api_key": False}, True, False, {OWN}),
    ({"enforce_h2ogpt_api_key": True}, True, True, set()),
    ({"enforce_h2ogpt_api_key": True, "api_key": OWN}, True, True, {OWN}),
    (
        {"api_key": OWN, "h2ogpt_api_keys": BOTH, "enforce_h2ogpt_api_key": False},
        True, False, {OWN, ONE, TWO},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("given", "needed", "by_calls", "known"), RULES)
def test_who_needs_a_key_and_which_are_good(
    given: dict[str, Any], needed: bool, by_calls: bool, known: set[str]
) -> None:
    found = keys(**given)
    assert (found.needed, found.needed_by_calls) == (needed, by_calls)
    assert good(found) == known
    assert is_keyed(quick(**given)) is needed  # else it might listen beyond loopback, and be open
    assert found.admits(None) is not by_calls
    assert all(found.admits(key) for key in known)


@pytest.mark.parametrize("key", [None, "", " ", 5, b"x", [ONE], {"a": 1}, "\ud800", ONE[:-1]])
def test_what_is_no_key(key: Any) -> None:
    assert not keys(h2ogpt_api_keys=BOTH).check(key)
    assert not keys().check(key)


@pytest.mark.parametrize("text", [f'["{ONE}", "{TWO}"]', f"('{ONE}', '{TWO}')", f" {BOTH} "])
def test_a_list_is_a_literal_or_json(text: str) -> None:
    assert good(keys(h2ogpt_api_keys=text)) == {ONE, TWO}


BAD = ["[1, 2]", f"['{ONE}', '']", f"['{ONE}'", f"[{ONE}]", "[['x']]", "[None]", "({})"]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_list_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SettingError, match="not a list of texts") as caught:
        keys(h2ogpt_api_keys=text)
    assert ONE not in str(caught.value)


def test_a_key_for_the_page_is_asked_for_apart() -> None:
    assert not keys(h2ogpt_api_keys=BOTH).needed_by_page
    found = keys(h2ogpt_api_keys=BOTH, enforce_h2ogpt_api_key=False, enforce_h2ogpt_ui_key=True)
    assert (found.needed, found.needed_by_calls, found.needed_by_page) == (False, False, True)


class Written:
    """A file of keys whose every version looks different."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp = 1_700_000_000

    def put(self, text: str) -> None:
        self.path.write_text(text)
        self.stamp += 1
        os.utime(self.path, (self.stamp, self.stamp))


@pytest.fixture
def file(tmp_path: Path) -> Written:
    written = Written(tmp_path / "keys.json")
    written.put(json.dumps([ONE]))
    return written


def test_a_file_is_read_again_when_it_changes(file: Written) -> None:
    clock = Clock()
    found = keys(clock, h2ogpt_api_keys=str(file.path))
    assert good(found) == {ONE}
    file.put(json.dumps([TWO]))
    clock.now += LOOK_AGAIN / 2
    assert good(found) == {ONE}, "it is looked at once a second at most"
    clock.now += LOOK_AGAIN
    assert good(found) == {TWO}
    assert found.current() == {TWO}


@pytest.mark.parametrize("text", ["", "[", '{"a": 1}', "[1]", "\x00\xff"])
def test_a_file_that_breaks_leaves_the_keys(
    file: Written, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    found = keys(clock, h2ogpt_api_keys=str(file.path), api_key=OWN)
    file.put(text)
    clock.now += 2 * LOOK_AGAIN
    with caplog.at_level(logging.WARNING):
        assert good(found) == {OWN, ONE}
        clock.now += 2 * LOOK_AGAIN
        assert good(found) == {OWN, ONE}
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("the keys stay as they were")
    assert ONE not in line
    file.put(json.dumps([TWO]))
    clock.now += 2 * LOOK_AGAIN
    assert good(found) == {OWN, TWO}


def test_a_file_that_goes_leaves_the_keys(file: Written) -> None:
    clock = Clock()
    found = keys(clock, h2ogpt_api_keys=str(file.path))
    file.path.unlink()
    clock.now += 2 * LOOK_AGAIN
    assert good(found) == {ONE}


def test_a_file_that_is_emptied_closes(file: Written) -> None:
    clock = Clock()
    found = keys(clock, h2ogpt_api_keys=str(file.path))
    file.put("[]")
    clock.now += 2 * LOOK_AGAIN
    assert good(found) == set()
    assert found.needed
    assert not found.admits("")


@pytest.mark.parametrize("text", [None, "[", "{}"])
def test_a_file_has_to_be_good_at_the_start(file: Written, text: str | None) -> None:
    if text is None:
        file.path.unlink()
    else:
        file.put(text)
    with pytest.raises(SettingError, match="--h2ogpt_api_keys"):
        keys(h2ogpt_api_keys=str(file.path))


def test_no_key_is_shown() -> None:
    found = keys(h2ogpt_api_keys=BOTH, api_key=OWN)
    assert "canary" not in repr(found)
    assert "canary" not in repr(quick(h2ogpt_api_keys=BOTH, admin_pass="canary", auth="canary"))
