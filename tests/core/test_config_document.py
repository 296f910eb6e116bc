"""YAML as configuration files have it: the core schema's scalars, lines, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml

from h2o_relay.config import document
from h2o_relay.config.document import DEPTH_LIMIT, SIZE_LIMIT, decoded, load
from h2o_relay.config.problems import Problems


def read(text: str) -> Any:
    problems = Problems()
    data = load(text, problems)
    assert not problems.found, problems.found
    return data


def mistakes(text: str) -> list[str]:
    problems = Problems()
    load(text, problems)
    return [str(problem) for problem in problems.found]


@pytest.fixture(autouse=True, params=["C", "Python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers of PyYAML: the one in C is not everywhere."""
    if request.param == "C" and not hasattr(yaml, "CSafeLoader"):
        pytest.skip("this PyYAML was built without libyaml")
    chosen = yaml.CSafeLoader if request.param == "C" else yaml.SafeLoader
    monkeypatch.setattr(document, "LOADER", chosen)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("true", True), ("FALSE", False),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("nUll", "nUll"),
        ("0", 0), ("-12", -12), ("+7", 7), ("0o17", 15), ("0x1F", 31), ("010", 10),
        ("1.5", 1.5), ("1e3", 1000.0), ("-.5", -0.5), (".inf", math.inf), ("-.INF", -math.inf),
        ("12:30", "12:30"), ("2020-01-01", "2020-01-01"), ("1_000", "1_000"), ("0b1", "0b1"),
        ("'5'", "5"), ('"true"', "true"), ("null x", "null x"), ("1.2.3.4", "1.2.3.4"),
        ("vllm_chat:http://h:8000", "vllm_chat:http://h:8000"),
        ("|\n  a\n   b\n", "a\n b\n"),
    ],
)  # fmt: skip
def test_scalars(text: str, value: Any) -> None:
    data = read(f"a: {text}\n")
    assert data == {"a": value}
    assert type(data["a"]) is type(value)


def test_not_a_number() -> None:
    assert math.isnan(read("a: .nan")["a"])


def test_lines() -> None:
    problems = Problems()
    text = "# one\na:\n  - b: 1\n    c:\n      - 2\n\n  - d\ne: {f: [1,\n  2]}\n"
    assert load(text, problems) == {"a": [{"b": 1, "c": [2]}, "d"], "e": {"f": [1, 2]}}
    assert problems.lines == {
        ("a",): 2, ("a", 0): 3, ("a", 0, "b"): 3, ("a", 0, "c"): 4, ("a", 0, "c", 0): 5,
        ("a", 1): 7, ("e",): 8, ("e", "f"): 8, ("e", "f", 0): 8, ("e", "f", 1): 9,
    }  # fmt: skip
    assert problems.line(("a", 0, "nothing", "there")) == 3
    assert problems.line(("z",)) is None


def test_json_is_yaml() -> None:
    assert read('{"a": [1, true, null, "x\\u00e9"], "b": {}}') == {
        "a": [1, True, None, "xé"],
        "b": {},
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", ["line 3: a: it is said twice, first in line 1"]),
        ("m:\n  - a: 1\n    a: 2\n", ["line 3: m[0].a: it is said twice, first in line 2"]),
        ("a: &x 1\nb: *x\n", ["line 1: a: anchors (&x) are not read here",
                              "line 2: b: aliases (*x) are not read here"]),
        ("a: !!python/name:os.system\n",
         ["line 1: a: tags (tag:yaml.org,2002:python/name:os.system) are not read here"]),
        ("a: !!str 1\n", ["line 1: a: tags (tag:yaml.org,2002:str) are not read here"]),
        ("a: ! 1\n", ["line 1: a: tags (!) are not read here"]),
        ("a:\n  1: x\n", ["line 2: a: the key 1 is not a text; put it in quotes"]),
        ("? [a, b]\n: 1\n",
         ["line 1: the key a list or a mapping is not a text; put it in quotes"]),
        ("true: 1\nnull: 1\n", ["line 1: the key True is not a text; put it in quotes",
                               "line 2: the key None is not a text; put it in quotes"]),
        ("a: 1\n---\nb: 2\n---\nc: 3\n",
         ["line 2: a second document (---) begins; one file is one"]),
        ("a:\n\tb: 1\n", ["line 2: a tab where the line begins: YAML wants spaces there"]),
        ("a:\n  b: 1\n \tc: 1\n", ["line 3: a tab where the line begins: YAML wants spaces there"]),
        (f"a: {'9' * 5000}\n", ["line 1: a: a number with too many digits"]),
        ("a: 'x\x00y'\n", ["line 1: it holds a character that YAML does not allow"]),
        ("b: 1\na: \x07\n", ["line 2: it holds a character that YAML does not allow"]),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, told: list[str]) -> None:
    assert mistakes(text) == told


@pytest.mark.parametrize("text", ["a: [1, 2", "a: 'x", "a: {b: 1", "a: @x", "a: b: c", "- a\nb: 1"])
def test_what_is_no_yaml(text: str) -> None:
    [told] = mistakes(f"z: 0\n{text}\n")
    assert told.startswith("line ")
    assert ": it is not YAML: " in told


def test_values_of_refused_keys_are_gone() -> None:
    problems = Problems()
    assert load("1: {x: 2}\nb: 3\n", problems) == {"b": 3}
    assert ("b",) in problems.lines


def test_depth() -> None:
    assert read("a: " + "[" * (DEPTH_LIMIT - 1) + "]" * (DEPTH_LIMIT - 1))
    [told] = mistakes("a: " + "[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT)
    assert told == f"line 1: a[0][0]: it is nested more than {DEPTH_LIMIT} deep"
    [told] = mistakes("[" * 100_000)
    assert "nested more than" in told


def test_aliases_do_not_grow() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert len(mistakes(bomb)) == 9 + 16


def test_size() -> None:
    assert mistakes("#" * (SIZE_LIMIT + 1)) == ["it is longer than 1 MiB"]
    problems = Problems()
    assert decoded(b"#" * (SIZE_LIMIT + 1), problems) == ""
    assert [str(problem) for problem in problems.found] == ["it is longer than 1 MiB"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("a: ü".encode("utf-16"), "it is UTF-16 or UTF-32; save it as UTF-8"),
        (b"\x00\x00\xfe\xffa", "it is UTF-16 or UTF-32; save it as UTF-8"),
        (b"a: 1\nb: \xff\xff\n", "line 2: it is not UTF-8"),
    ],
)
def test_what_is_not_utf_8(data: bytes, told: str) -> None:
    problems = Problems()
    assert decoded(data, problems) == ""
    assert [str(problem) for problem in problems.found] == [told]


def test_a_byte_order_mark_is_no_mistake() -> None:
    problems = Problems()
    assert load(decoded(b"\xef\xbb\xbfa: 1", problems), problems) == {"a": 1}
    assert read("\ufeffa: 1") == {"a": 1}
    assert not problems.found
