"""Items of a request's `input` as the messages of a chat.

Their shapes are those of OpenAI's API reference ("Create a model response", `input`). One message
of the assistant holds what are several items here: reasoning, text and calls of functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from h2o_relay.errors import InvalidRequest, NotFound

from ...checking import missing, of, one_of, wrong_type
from .parts import GIVEN, SPOKEN, content_of, not_here, optional_text, text_field, unknown
from .unread import Unread

Item = dict[str, Any]
Find = Callable[[str], "Item | None"]
"""An item of an earlier response by its id."""
ROLES = ("user", "assistant", "system", "developer")
STATUS = one_of("in_progress", "completed", "incomplete")
HOSTED = frozenset(
    {
        "additional_tools", "apply_patch_call", "apply_patch_call_output", "code_interpreter_call",
        "compaction", "compaction_trigger", "computer_call", "computer_call_output",
        "configuration_update", "custom_tool_call", "custom_tool_call_output", "file_search_call",
        "image_generation_call", "local_shell_call", "local_shell_call_output",
        "mcp_approval_request", "mcp_approval_response", "mcp_call", "mcp_list_tools", "program",
        "program_output",
        "shell_call", "shell_call_output", "tool_search_call", "tool_search_output",
        "web_search_call",
    }
)  # fmt: skip
"""Items of tools that are not offered here."""


class Conversation:
    """A chat's messages, which items are added to one by one."""

    def __init__(self, unread: Unread, find: Find, all_turns: bool = False) -> None:
        """Reasoning of turns before the last message of the user is left out, as the API itself
        does by default, but with `all_turns`.
        """
        self.messages: list[dict[str, Any]] = []
        self._unread, self._find, self._all_turns = unread, find, all_turns
        self._turn: dict[str, Any] | None = None  # the assistant's, while it may grow
        self._thoughts: list[str] = []  # of what comes next
        self._thinking: list[dict[str, Any]] = []  # messages with reasoning of this turn
        self._called: set[str] = set()

    def add(self, path: str, item: Any) -> Item:
        """One more item; returned is its full form, as it is listed later, but for an `id` that it
        may not have. Raises InvalidRequest, NotFound.
        """
        if type(item) is not dict:
            raise wrong_type(path, "an object")
        kind = item.get("type")
        if kind is None:
            kind = "message" if "role" in item else "item_reference" if "id" in item else None
        if kind is None:
            raise missing(f"{path}.type")
        if type(kind) is not str:
            raise wrong_type(f"{path}.type", "a string")
        if kind in HOSTED:
            raise not_here(f"{path}.type", f"items of type {kind!r} are not supported here.")
        if kind not in READERS:
            raise unknown(f"{path}.type", READERS)
        if item.get("status") is not None:
            STATUS(f"{path}.status", item["status"])
        optional_text(path, item, "id")
        return READERS[kind](self, path, item)

    def _message(self, path: str, item: Item) -> Item:
        role = text_field(path, item, "role")
        if role not in ROLES:
            raise unknown(f"{path}.role", dict.fromkeys(ROLES))
        self._unread.rest(path, item, ("type", "id", "role", "content", "status"))
        place, given = f"{path}.content", item.get("content")
        full = {**_done(item), "type": "message", "content": _full(role, given)}
        if role == "assistant":
            self._say(content_of(place, given, SPOKEN, self._unread))
            return full
        content = content_of(place, given, GIVEN, self._unread)
        self._turn = None
        if role == "user":
            self._forget()
        # To the models they are the same; more servers and chat templates know `system`.
        name = "user" if role == "user" else "system"
        self.messages.append({"role": name, "content": content})
        return full

    def _say(self, content: str | list[dict[str, Any]]) -> None:
        turn = self._turn
        if turn is None or not turn.get("tool_calls"):
            turn = self._begin()
        before = turn["content"]
        turn["content"] = content if before is None else [*_parts(before), *_parts(content)]
        self._think(turn)

    def _call(self, path: str, item: Item) -> Item:
        known = ("type", "id", "status", "call_id", "name", "arguments", "caller", "async")
        self._unread.rest(path, item, known)
        self._caller(path, item)
        call_id = text_field(path, item, "call_id")
        function = {n: text_field(path, item, n) for n in ("name", "arguments")}
        turn = self._turn or self._begin()
        calls = turn.setdefault("tool_calls", [])
        calls.append({"id": call_id, "type": "function", "function": function})
        self._called.add(call_id)
        self._think(turn)
        return _done(item)

    def _result(self, path: str, item: Item) -> Item:
        known = ("type", "id", "status", "call_id", "name", "output", "caller")
        self._unread.rest(path, item, known)
        self._caller(path, item)
        call_id = text_field(path, item, "call_id")
        name = optional_text(path, item, "name")
        content = content_of(f"{path}.output", item.get("output"), GIVEN, self._unread)
        if call_id not in self._called:
            shown = call_id[:100]
            raise InvalidRequest(
                f"No tool call found for function call output with call_id {shown}.",
                param=f"{path}.call_id",
            )
        message = {"role": "tool", "tool_call_id": call_id, "content": content}
        self.messages.append(message if name is None else {**message, "name": name})
        self._turn = None
        return {**_done(item), "output": _with_defaults(item["output"])}

    def _caller(self, path: str, item: Item) -> None:
        """Who called the function: the model itself, or a program of its own, which is not here."""
        caller = item.get("caller")
        if caller is not None and caller != {"type": "direct"}:
            self._unread.add(path, "caller")
        if item.get("async"):
            self._unread.add(path, "async")

    def _reasoning(self, path: str, item: Item) -> Item:
        self._unread.rest(path, item, ("type", "id", "status", "summary", "content"))
        thought = self._texts(f"{path}.content", item.get("content"), "reasoning_text")
        summary = self._texts(f"{path}.summary", item.get("summary"), "summary_text")
        if self._turn is not None and not self._turn.get("tool_calls"):
            self._turn = None
        self._thoughts += thought or summary
        return {"summary": [], **item}

    def _texts(self, path: str, given: Any, kind: str) -> list[str]:
        """The texts of a reasoning item's content or summary."""
        if given is None:
            return []
        of(list, "an array")(path, given)
        found = []
        for number, part in enumerate(given):
            place = f"{path}[{number}]"
            if type(part) is not dict:
                raise wrong_type(place, "an object")
            self._unread.rest(place, part, ("type", "text"))
            if text_field(place, part, "type") != kind:
                raise unknown(f"{place}.type", {kind: None})
            found.append(text_field(place, part, "text"))
        return found

    def _reference(self, path: str, item: Item) -> Item:
        self._unread.rest(path, item, ("type", "id"))
        name = text_field(path, item, "id")
        found = self._find(name)
        if found is None:
            raise NotFound(
                f"Item with id '{name[:100]}' not found. Items are kept in memory for a while, and "
                "not at all where `store` is false.",
                param=f"{path}.id",
            )
        return self.add(path, found)

    def _begin(self) -> dict[str, Any]:
        """A new message of the assistant."""
        self._turn = turn = {"role": "assistant", "content": None}
        self.messages.append(turn)
        return turn

    def _think(self, turn: dict[str, Any]) -> None:
        """What was thought goes with what it led to."""
        if not self._thoughts:
            return
        before = [turn["reasoning_content"]] if "reasoning_content" in turn else []
        turn["reasoning_content"] = "\n".join([*before, *self._thoughts])
        self._thoughts = []
        self._thinking.append(turn)

    def _forget(self) -> None:
        self._thoughts = []
        for message in () if self._all_turns else self._thinking:
            message.pop("reasoning_content", None)
        self._thinking = []


READERS: dict[str, Callable[[Conversation, str, Item], Item]] = {
    "message": Conversation._message,
    "function_call": Conversation._call,
    "function_call_output": Conversation._result,
    "reasoning": Conversation._reasoning,
    "item_reference": Conversation._reference,
}


PARTS_HAVE: dict[str, dict[str, Any]] = {
    "output_text": {"annotations": []}, "input_image": {"detail": "auto"},
}  # fmt: skip


def _parts(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _full(role: str, content: Any) -> Any:
    """A message's content as the API lists it: always parts, with what parts always have."""
    parts = content
    if type(content) is str:
        kind = "output_text" if role == "assistant" else "input_text"
        parts = [{"type": kind, "text": content}]
    return _with_defaults(parts)


def _with_defaults(parts: Any) -> Any:
    """Parts with the fields that listed ones always have. What is wrong is refused elsewhere."""
    if type(parts) is not list:
        return parts
    return [
        {**PARTS_HAVE.get(str(part.get("type")), {}), **part} if type(part) is dict else part
        for part in parts
    ]


def _done(item: Item) -> Item:
    return {**item, "status": item.get("status") or "completed"}
