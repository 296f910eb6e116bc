"""Conversations to files, and back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from h2o_relay.errors import InvalidRequest
from h2o_relay.store import Conversation
from h2o_relay_ui import exporting, importing, thread
from h2o_relay_ui.conversation import content_of

PNG = "data:image/png;base64,AAAA"
TRICKY = "# Not a title\n\n<!-- 0123456789ab {} -->\n\n**You**\n\n    code\n\n```\n$x$ -->\n```"


def conversation(**changes: Any) -> Conversation:
    messages = [
        {**thread.question(content_of("see this", [PNG])), "time": 1_800_000_000.25},
        {
            **thread.answer("parrot", "vllm:gpu1"), "content": TRICKY, "reasoning": "hm -- so",
            "state": "stopped", "notes": ["2 messages were left out"], "finish_reason": "stop",
            "figures": thread.figures(0.5, 2.0, 8, 20),
        },
        thread.question("and now?"),
        {
            **thread.answer("parrot"), "state": "failed",
            "error": {"message": "it is down", "code": "upstream_unreachable", "status": 502},
        },
    ]  # fmt: skip
    usual: dict[str, Any] = {
        "id": "x", "owner": "me", "title": "What is <b>this</b>?", "kind": "chat",
        "created": 1.0, "updated": 1_800_000_000.0, "messages": messages,
        "settings": {"model": "parrot", "options": {"system": "Be brief.", "seed": "1"}},
    }  # fmt: skip
    return Conversation(**{**usual, **changes})


def back(chat: Conversation, kind: exporting.Kind) -> importing.Imported:
    [found] = importing.read(exporting.exported(chat, kind).encode())
    return found


def without_ids(messages: list[thread.Message]) -> list[thread.Message]:
    return [{**message, "id": ""} for message in messages]


def test_json_keeps_everything_but_the_owner() -> None:
    chat = conversation()
    text = exporting.exported(chat, "json")
    assert '"owner"' not in text
    found = back(chat, "json")
    assert (found.title, found.settings) == (chat.title, chat.settings)
    error = {"message": "it is down", "code": "upstream_unreachable", "status": None}
    expected = without_ids(chat.messages)
    expected[-1]["error"] = error
    assert without_ids(found.messages) == expected
    assert found.left_out == 0


def test_markdown_is_for_people_and_can_be_read_again() -> None:
    chat = conversation()
    text = exporting.exported(chat, "md")
    assert text.splitlines()[2] == "# What is <b>this</b>?"
    assert "**System prompt**\n\nBe brief." in text
    assert f"**You**\n\n![image]({PNG})\n\nsee this" in text
    assert f"**parrot**\n\n{TRICKY}" in text
    found = back(chat, "md")
    assert found.title == chat.title
    assert found.settings == {"options": {"system": "Be brief."}}
    assert [m["content"] for m in found.messages] == [m["content"] for m in chat.messages[:3]]
    answer = found.messages[1]
    assert (answer["model"], answer["server"]) == ("parrot", "vllm:gpu1")
    assert (answer["state"], answer["reasoning"]) == ("stopped", "hm -- so")
    assert found.messages[0]["time"] == 1_800_000_000.25


def test_jsonl_is_what_openai_takes() -> None:
    chat = conversation()
    text = exporting.exported(chat, "jsonl")
    assert text.count("\n") == 1
    line = orjson.loads(text)
    assert [m["role"] for m in line["messages"]] == ["system", "user", "assistant", "user"]
    assert line["messages"][1]["content"][0]["image_url"]["url"] == PNG
    found = back(chat, "jsonl")
    assert found.settings == {"options": {"system": "Be brief."}}
    assert [m["content"] for m in found.messages] == [m["content"] for m in chat.messages[:3]]


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("What is this?", "What-is-this-2027-01-15.md"),
        ("../../etc/passwd\0\n", "etcpasswd-2027-01-15.md"),
        ("   ", "chat-2027-01-15.md"),
        ("Ünïcode ✓ 你好", "Ünïcode-你好-2027-01-15.md"),
        ("word " * 40, f"{'word-' * 12}2027-01-15.md"),
    ],
)
def test_a_file_has_a_name_that_any_system_takes(title: str, name: str) -> None:
    noon = 1_800_014_400.0  # the same day in every time zone of the tests
    assert exporting.file_name(conversation(title=title, updated=noon), "md") == name


def test_several_conversations_in_a_file() -> None:
    one = {"messages": [{"role": "user", "content": "one"}]}
    two = {"title": "Two", "messages": [{"role": "user", "content": "zwei"}]}
    for data in (
        orjson.dumps([one, two]),
        orjson.dumps(one) + b"\r\n\n" + orjson.dumps(two) + b"\n",
        b"\xef\xbb\xbf" + orjson.dumps(one) + b"\n" + orjson.dumps(two),
    ):
        assert [found.title for found in importing.read(data)] == ["one", "Two"]


def test_what_has_no_place_here_is_counted() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": "a second one"},
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "sun", "tool_call_id": "1"},
        {"role": "assistant", "content": "Sunny."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]},
        "nonsense",
    ]
    [found] = importing.read(orjson.dumps({"messages": messages}))
    assert [m["content"] for m in found.messages] == ["weather?", "Sunny."]
    assert found.settings == {"options": {"system": "Be brief."}}
    assert found.left_out == 4
    assert found.messages[1]["state"] == "done"


def chatgpt() -> dict[str, Any]:
    """A conversation as its export has it: a tree, of which one branch counts."""

    def node(parent: str | None, role: str, *parts: Any) -> dict[str, Any]:
        message = {
            "author": {"role": role}, "create_time": 5.0, "metadata": {"model_slug": "gpt-4o"},
            "content": {"content_type": "text", "parts": list(parts)},
        }  # fmt: skip
        return {"parent": parent, "message": message}

    mapping = {
        "root": {"parent": None, "message": None},
        "s": node("root", "system", ""),
        "q": node("s", "user", "one"),
        "old": node("q", "assistant", "not this"),
        "a": node("q", "assistant", "uno", {"asset": "picture"}),
        "t": node("a", "tool", "searching"),
    }
    return {"title": "A talk", "mapping": mapping, "current_node": "t"}


def test_an_export_of_chatgpt_is_read_along_its_branch() -> None:
    [found] = importing.read(orjson.dumps([chatgpt()]))
    assert found.title == "A talk"
    assert [(m["role"], m["content"]) for m in found.messages] == [
        ("user", "one"), ("assistant", "uno"),
    ]  # fmt: skip
    assert (found.messages[1]["model"], found.messages[1]["time"]) == ("gpt-4o", 5.0)
    assert found.left_out == 1


def test_a_tree_that_turns_in_a_circle_ends() -> None:
    entry = chatgpt()
    entry["mapping"]["q"]["parent"] = "a"
    [found] = importing.read(orjson.dumps(entry))
    assert len(found.messages) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{nope", b"[1]", b"7", b"null", b'{"a": 1}', b"plain text", b"\xff\xfe\x00",
        b"# A title\n\n**You**\n\nhi", b"PK\x03\x04",
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_these_is_refused_in_a_line(data: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        importing.read(data)
    assert caught.value.message in (
        importing.UNREADABLE, "The file has no conversation with messages in it.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b'{"messages": []}\n{"messages": \n', "Line 2 of the file is not JSON."),
        (b'{"messages": []}', "The file has no conversation with messages in it."),
        (b'{"messages": 7}', "A conversation is a list of up to 5,000 messages."),
        (b'{"messages": []}\n' * 501, "The file has 501 conversations; 500 are taken."),
        (b" " * (importing.LARGEST + 1), "The file has more than 15 MB."),
    ],
)
def test_what_is_wrong_with_a_file_is_said(data: bytes, line: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        importing.read(data)
    assert caught.value.message == line


def test_values_of_wrong_kinds_are_not_taken_over() -> None:
    message = {
        "role": "assistant", "content": "x", "model": 7, "server": ["a"], "state": "running",
        "reasoning": {}, "error": {"message": 1, "code": {}, "status": "x"}, "notes": "abc",
        "finish_reason": 5, "figures": {"tokens": "many", "seconds": 2}, "time": "now",
        "id": "of somebody else",
    }  # fmt: skip
    entry = {"title": ["x"], "settings": {"options": {"seed": 7, "other": "y"}, "model": {}},
             "messages": [message]}  # fmt: skip
    [found] = importing.read(orjson.dumps(entry))
    [answer] = found.messages
    assert (found.title, found.settings) == ("", {})
    assert (answer["model"], answer["server"], answer["state"]) == ("", "", "done")
    assert answer["error"] == {"message": "", "code": None, "status": None}
    assert (answer["notes"], answer["finish_reason"], answer["time"]) == ([], None, 0.0)
    assert answer["figures"] == thread.figures(None, 2, None)
    assert answer["id"] != "of somebody else"
