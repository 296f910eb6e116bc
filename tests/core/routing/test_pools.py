"""Pools as operators write them: on the command line, in a file, over the API."""

from typing import Any

import pytest

from h2o_relay.pools import STRATEGIES, PoolError, PoolSpec, pool_spec


def test_a_name_and_members() -> None:
    spec = PoolSpec.parse("big=a, b,c")
    assert spec == PoolSpec(name="big", members=("a", "b", "c"))
    assert (spec.strategy, spec.queue, spec.resume) == ("least-load", 100, False)


def test_every_option_of_the_command_line() -> None:
    spec = PoolSpec.parse(
        "big=qwen3:8b,org/model,2;strategy=weighted;weights=qwen3:8b:2,2:0.5;queue=10;resume=true"
        ";fallback=small;"
    )
    assert spec.members == ("qwen3:8b", "org/model", 2)
    assert spec.weights == {"qwen3:8b": 2.0, "2": 0.5}
    assert (spec.queue, spec.resume, spec.fallback) == (10, True, "small")
    spilling = PoolSpec.parse("p=a,b;strategy=priority;spill-over=4")
    assert spilling.spill_over == 4


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_can_be_named(strategy: str) -> None:
    assert PoolSpec.parse(f"p=a;strategy={strategy}").strategy == strategy


def test_what_is_written_is_read_again() -> None:
    spec = PoolSpec.parse("p=a,1;strategy=weighted;weights=a:2;queue=0;fallback=z")
    assert spec.written() == {
        "members": ["a", 1], "strategy": "weighted", "weights": {"a": 2.0}, "queue": 0,
        "fallback": "z",
    }  # fmt: skip
    assert pool_spec("p", spec.written()) == spec
    assert PoolSpec.parse("p=a").written() == {"members": ["a"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("abc", "pool 'abc': write NAME=MEMBER,MEMBER"),
        ("=a", "pool '=a': write NAME=MEMBER,MEMBER"),
        ("p=", "pool 'p': members must be a list of names or places, one at least"),
        ("p=a,a", "pool 'p': members has 'a' twice"),
        ("p=a;strategi=sticky", "pool 'p': there is no key 'strategi'; did you mean 'strategy'?"),
        ("p=a;strategy=stiky",
         "pool 'p': strategy there is no strategy 'stiky'; did you mean 'sticky'?"),
        ("p=a;sticky", "pool 'p': write 'sticky' as KEY=VALUE"),
        ("p=a;queue=1;queue=2", "pool 'p': 'queue' is given twice"),
        ("p=a;queue=many", "pool 'p': queue must be a whole number from 0 on, not 'many'"),
        ("p=a;queue=99999999999",
         "pool 'p': queue must be a whole number from 0 on, not '99999999999'"),
        ("p=a;resume=maybe", "pool 'p': resume must be true or false, not 'maybe'"),
        ("p=a;strategy=weighted;weights=a",
         "pool 'p': weights are written MEMBER:NUMBER, not 'a'"),
        ("p=a;strategy=weighted;weights=a:1,a:2", "pool 'p': weights has a member twice"),
        ("p=ab,c;strategy=weighted;weights=ac:1",
         "pool 'p': weights: there is no member 'ac'; did you mean 'c'?"),
        ("p=a;strategy=weighted;weights=a:0",
         "pool 'p': weights must leave something to one member at least"),
        ("p=a;strategy=weighted;weights=a:nan",
         "pool 'p': weights must be numbers from 0 on, not nan"),
        ("p=a;weights=a:1", "pool 'p': weights is for the strategy weighted, not least-load"),
        ("p=a;spill-over=2", "pool 'p': spill_over is for the strategy priority, not least-load"),
        ("p=a;strategy=priority;spill-over=0",
         "pool 'p': spill_over must be a whole number from 1 on, not 0"),
        ("p=a;fallback=p", "pool 'p': cannot be its own fallback"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(text: str, said: str) -> None:
    with pytest.raises(PoolError) as caught:
        PoolSpec.parse(text)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "written",
    [
        None, [], "a,b", {}, {"members": None}, {"members": []}, {"members": [""]},
        {"members": [True]}, {"members": [-1]}, {"members": [1.5]}, {"members": {"a": 1}},
        {"members": ["a"], "queue": True}, {"members": ["a"], "queue": -1},
        {"members": ["a"], "resume": 1}, {"members": ["a"], "fallback": 3},
        {"members": ["a"], "strategy": None}, {"members": ["a"], 3: 4},
        {"members": ["a"], "strategy": ["sticky"]},
        {"members": ["a"], "strategy": "weighted", "weights": {"a": "2"}},
        {"members": ["a"], "strategy": "weighted", "weights": [2]},
        {"members": ["a"], "name": "other"},
    ],
)  # fmt: skip
def test_anything_a_file_may_hold_is_refused_in_one_line(written: Any) -> None:
    with pytest.raises(PoolError) as caught:
        pool_spec("p", written)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("pool 'p': ")


@pytest.mark.parametrize("name", ["", " ", "a\nb", 3, None])
def test_names_are_lines(name: Any) -> None:
    with pytest.raises(PoolError, match="its name must be a line of text"):
        pool_spec(name, {"members": ["a"]})
