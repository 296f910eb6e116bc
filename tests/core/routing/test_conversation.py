"""Which conversation a request belongs to."""

import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.routing import conversation_key


def chat(*texts: Any, model: str = "m", system: str | None = "Be brief.") -> dict[str, Any]:
    messages = [] if system is None else [{"role": "system", "content": system}]
    for number, text in enumerate(texts):
        messages.append({"role": ("user", "assistant")[number % 2], "content": text})
    return {"model": model, "messages": messages}


def test_the_turns_of_a_chat_have_one_key() -> None:
    first = conversation_key(chat("Hello"))
    assert first is not None
    assert 0 <= first < 2**64
    assert conversation_key(chat("Hello", "Hi!", "How are you?")) == first
    assert conversation_key({**chat("Hello"), "temperature": 0.3, "stream": True}) == first


def test_other_conversations_have_others() -> None:
    keys = [
        conversation_key(one)
        for one in (
            chat("Hello"), chat("Hello!"), chat("Hello", system=None), chat("Hello", model="n"),
            chat("Hello", system="Be verbose."), {"model": "m", "prompt": "Hello"},
        )
    ]  # fmt: skip
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_the_callers_own_name_for_it_goes_first() -> None:
    one = conversation_key(chat("a"), "session-1")
    assert one == conversation_key(chat("b"), "session-1")
    assert one == conversation_key({}, "session-1")
    assert one != conversation_key(chat("a"), "session-2")
    assert conversation_key(chat("a"), "") == conversation_key(chat("a"))


def test_parts_images_and_tokens_count_too() -> None:
    def image(url: str) -> dict[str, Any]:
        return chat([{"type": "text", "text": "What is it?"},
                     {"type": "image_url", "image_url": {"url": url}}])  # fmt: skip

    assert conversation_key(image("data:a")) != conversation_key(image("data:b"))
    assert conversation_key({"prompt": [1, 2, 3]}) != conversation_key({"prompt": [1, 2, 4]})
    assert conversation_key({"prompt": ["a", "b"]}) is not None


@pytest.mark.parametrize(
    "params", [{}, {"messages": []}, {"prompt": ""}, {"messages": None}, {"input": "text"}]
)
def test_where_there_is_nothing_to_go_by(params: dict[str, Any]) -> None:
    assert conversation_key(params) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
MESSAGE = st.dictionaries(st.sampled_from(["role", "content", "type"]), JSON) | JSON


@given(JSON | st.lists(MESSAGE), JSON, JSON)
def test_it_never_raises(messages: Any, prompt: Any, model: Any) -> None:
    conversation_key({"messages": messages, "prompt": prompt, "model": model})


def test_it_is_the_same_in_another_process() -> None:
    code = (
        "from h2o_relay.routing import conversation_key as key;"
        "print(key({'model': 'm', 'prompt': 'Once upon a time'}))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert int(told) == conversation_key({"model": "m", "prompt": "Once upon a time"})


def test_a_long_conversation_costs_no_more_than_a_short_one() -> None:
    long = chat("x" * 5_000_000, *["and so on"] * 20_000, system="y" * 5_000_000)
    start = time.process_time()
    for _ in range(100):
        conversation_key(long)
    assert time.process_time() - start < 0.5  # a hundred times ten million characters would be 5 s
