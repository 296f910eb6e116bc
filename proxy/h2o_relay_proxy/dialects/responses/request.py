"""A request of the Responses API as one of chat completions.

Fields that neither API has travel untouched, as they do in chat completions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from h2o_relay.errors import InvalidRequest

from ...checking import empty, missing, one_of
from .fields import ENCRYPTED, LOGPROBS, NOT_DONE, OWN, SAMPLING, SHARED, check
from .items import Conversation, Item
from .parts import optional_text
from .tools import chosen, functions, text_format
from .unread import Unread


class Earlier(Protocol):
    """What was kept for whoever asks."""

    def context(self, response_id: str) -> Sequence[Item]:
        """The input and the output of a response, and of those before it. Raises InvalidRequest."""

    def item(self, item_id: str) -> Item | None: ...


@dataclass(slots=True, kw_only=True)
class Asked:
    """A request that was read."""

    params: dict[str, Any]
    """As of /chat/completions."""
    dropped: tuple[str, ...]
    shown: dict[str, Any]
    """Those fields of the response that repeat the request."""
    items: list[Item]
    """The new items of the input, in full, but for ids that they may not have."""
    logprobs: bool
    summary: bool
    """Reasoning is told as its summary."""


def read(given: Mapping[str, Any], earlier: Earlier) -> Asked:
    """Raises InvalidRequest, NotFound."""
    params = check(given)
    unread = Unread()
    for name in NOT_DONE:
        if name in params:
            unread.top(name)
    effort, summary, all_turns = _reasoning(params.get("reasoning", {}), unread)
    conversation = Conversation(unread, earlier.item, all_turns)
    items = _converse(conversation, params, earlier)
    text = params.get("text", {})
    chat = {name: params[name] for name in (*SHARED, *SAMPLING) if name in params}
    chat |= {"messages": conversation.messages, "stream": params.get("stream", False)}
    chat |= text_format(text, unread) | effort
    logprobs = _logprobs(params, chat, unread)
    if "max_output_tokens" in params:
        chat["max_completion_tokens"] = params["max_output_tokens"]
    tools = _tools(params, chat, unread)
    _stream(params, chat, unread)
    chat |= {name: value for name, value in given.items() if name not in OWN}
    return Asked(
        params=chat, dropped=unread.paths, items=items, logprobs=logprobs,
        summary=summary is not None, shown=_shown(params, text, tools, effort, summary),
    )  # fmt: skip


def _converse(
    conversation: Conversation, params: Mapping[str, Any], earlier: Earlier
) -> list[Item]:
    """Fill in the messages; the new items of the input."""
    if params.get("instructions"):
        system = {"role": "system", "content": params["instructions"]}
        conversation.messages.append(system)
    previous = params.get("previous_response_id")
    for item in () if previous is None else earlier.context(previous):
        conversation.add("previous_response_id", item)
    given = params.get("input")
    if given is None and previous is None:
        raise missing("input")
    if given == [] and previous is None:
        raise empty("input", "empty_array")
    if type(given) is str:
        given = [{"role": "user", "content": given}]
    items = [conversation.add(f"input[{n}]", item) for n, item in enumerate(given or ())]
    if not conversation.messages:
        raise InvalidRequest("There is nothing to answer in 'input'.", param="input")
    return items


def _reasoning(given: Mapping[str, Any], unread: Unread) -> tuple[dict[str, Any], str | None, bool]:
    """The chat's `reasoning_effort`, the kind of summary, and whether all turns' reasoning is sent.

    A short summary would have to be written by somebody: reasoning is told as it is.
    """
    unread.rest("reasoning", given, ("effort", "summary", "generate_summary", "context"))
    effort = optional_text("reasoning", given, "effort")
    context = optional_text("reasoning", given, "context")
    if context is not None:
        one_of("auto", "current_turn", "all_turns")("reasoning.context", context)
    summary = None
    for name in ("generate_summary", "summary"):  # the former is the older name
        wanted = optional_text("reasoning", given, name)
        if wanted is None:
            continue
        one_of("auto", "concise", "detailed")(f"reasoning.{name}", wanted)
        if wanted == "concise":
            unread.add("reasoning", name)
        else:
            summary = wanted
    fields = {} if effort is None else {"reasoning_effort": effort}
    return fields, summary, context == "all_turns"


def _tools(params: Mapping[str, Any], chat: dict[str, Any], unread: Unread) -> list[Any]:
    """The tools as a response repeats them; fills in the chat's fields. A choice among no tools is
    left out: chat completions refuse what says nothing.
    """
    tools, shown = functions(params.get("tools", ()), unread)
    choice, tools = chosen(params.get("tool_choice", "auto"), tools, unread)
    if tools:
        chat["tools"] = tools
        both = {"tool_choice": choice, "parallel_tool_calls": params.get("parallel_tool_calls")}
        chat |= {name: value for name, value in both.items() if name in params}
    return shown


def _logprobs(params: Mapping[str, Any], chat: dict[str, Any], unread: Unread) -> bool:
    """Whether they are asked for; fills in the chat's fields. What else may be included are
    results of tools that are never called here, but for reasoning that nobody can read.
    """
    include = params.get("include") or ()
    if ENCRYPTED in include:
        unread.add("include", ENCRYPTED)
    top = params.get("top_logprobs")
    if LOGPROBS not in include:
        if top:
            unread.top("top_logprobs")
        return False
    chat["logprobs"] = True
    if top is not None:
        chat["top_logprobs"] = top
    return True


def _stream(params: Mapping[str, Any], chat: dict[str, Any], unread: Unread) -> None:
    """A stream of this API always ends with its usage."""
    options = params.get("stream_options") or {}
    if not params.get("stream"):
        if options:
            raise InvalidRequest("'stream_options' is for streams.", param="stream_options")
        return
    chat["stream_options"] = {"include_usage": True}
    asked = {name: value for name, value in options.items() if value is not False}
    unread.rest("stream_options", asked, ())


def _shown(
    params: Mapping[str, Any], text: Mapping[str, Any], tools: list[Any],
    effort: Mapping[str, Any], summary: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Null stands for what the server decides."""
    asked = ("effort", "summary")
    reasoning = dict(zip(asked, (effort.get("reasoning_effort"), summary), strict=True))
    fields = (
        "instructions", "max_output_tokens", "max_tool_calls", "previous_response_id",
        "prompt_cache_key", "safety_identifier", "service_tier", "temperature", "top_p", "user",
    )  # fmt: skip
    return {
        **{name: params.get(name) for name in fields},
        "parallel_tool_calls": params.get("parallel_tool_calls", True),
        "reasoning": reasoning,
        "store": params.get("store", True),
        "text": {"format": {"type": "text"}, **{k: v for k, v in text.items() if v is not None}},
        "tool_choice": params.get("tool_choice", "auto"),
        "tools": tools,
        "top_logprobs": params.get("top_logprobs", 0),
        "truncation": params.get("truncation", "disabled"),
        "metadata": params.get("metadata", {}),
    }
