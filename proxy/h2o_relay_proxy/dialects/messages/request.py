"""A request of /messages as one of /chat/completions.

Fields are those of Anthropic's API reference (`MessageCreateParams`, beta ones included).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from h2o_relay.errors import InvalidRequest

from ...checking import MAX_INT, Check, integer, missing, number, of, one_of, wrong_type
from ...checks import CHECKS as CHAT_CHECKS
from ...fields import stop
from .conversation import messages_of, prefills
from .report import Report, a_type, an_array, an_object, needed, says_nothing
from .tools import tools_of

CHECKS: dict[str, Check] = {
    "model": CHAT_CHECKS["model"],
    "max_tokens": integer(1, MAX_INT),
    "stream": of(bool, "true or false"),
    "temperature": number(0, 1),
    "top_p": number(0, 1),
    "top_k": integer(0, MAX_INT),
    "service_tier": one_of("auto", "standard_only"),
}
"""Fields that have no inside."""
READ = frozenset(CHECKS) | {
    "messages", "system", "stop_sequences", "metadata", "tools", "tool_choice", "output_config",
    "output_format", "thinking",
}  # fmt: skip
FOREIGN = frozenset(
    {
        "anthropic_beta", "anthropic_version", "betas", "billing_policy", "cache_control",
        "compaction", "container", "context_management", "diagnostics", "fallback_credit_token",
        "fallbacks", "inference_geo", "mcp_servers", "speed", "user_profile_id",
        "workspace_id",
    }
)  # fmt: skip
"""Fields of Anthropic's that no other server has."""
NO_PLACE = frozenset(
    {
        "n", "logprobs", "top_logprobs", "modalities", "audio", "functions", "function_call",
        "stream_options", "max_completion_tokens",
    }
)  # fmt: skip
"""Fields of a chat whose answers a message has no place for, and those of which it has its own:
`max_tokens` is always there, and usage is always told.
"""
NAMES: Mapping[str, str] = {
    "stop": "stop_sequences",
    "user": "metadata.user_id",
    "response_format": "output_config.format",
    "reasoning_effort": "output_config.effort",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
}
TIERS = {"auto": "auto", "standard_only": "default"}
EFFORT = one_of("low", "medium", "high", "xhigh", "max")
THINKING = ("enabled", "disabled", "adaptive", "between_tools")
LEAST_BUDGET = 1024  # tokens, by the API reference
LONGEST_USER = 64  # characters that OpenAI takes; some clients send more


@dataclass(frozen=True, slots=True)
class Read:
    """A request that was read."""

    params: dict[str, Any]
    dropped: tuple[str, ...]
    names: Mapping[str, str]
    """As in `Exchanged`. A name that is '' is of a field that the caller has not sent."""
    stops: tuple[str, ...]


def read(params: dict[str, Any], *, counting: bool = False) -> Read:
    """A request in a chat's terms; `counting` for one of /messages/count_tokens, which needs no
    limit. Raises InvalidRequest.
    """
    for name, check in CHECKS.items():
        if params.get(name) is not None:
            check(name, params[name])
    if not counting and params.get("max_tokens") is None:
        raise missing("max_tokens")
    report = Report()
    fields = {name: params[name] for name in CHECKS if params.get(name) is not None}
    fields["messages"] = messages_of(params, report)
    stops = _stops(params.get("stop_sequences"))
    fields |= {"stop": list(stops)} if stops else {}
    fields |= tools_of(params, report)
    fields |= _output(params, report)
    fields |= _user(params.get("metadata"), report)
    _thinking(params.get("thinking"), report)
    if "service_tier" in fields:
        fields["service_tier"] = TIERS[fields["service_tier"]]
    names = {name: own for name, own in NAMES.items() if name in fields}
    if params.get("output_format") is not None:
        names["response_format"] = "output_format"
    _others(params, fields, report)
    names |= _added(params, fields)
    return Read(fields, report.dropped, names, stops)


def _stops(given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    stop("stop_sequences", an_array("stop_sequences", given))
    return tuple(given)


def _output(params: dict[str, Any], report: Report) -> dict[str, Any]:
    """`output_config`, and `output_format`, its older name for one of its two fields."""
    fields: dict[str, Any] = {}
    given, older = params.get("output_config"), params.get("output_format")
    config = {} if given is None else an_object("output_config", given)
    report.rest("output_config", config, ("format", "effort"))
    wanted, path = config.get("format"), "output_config.format"
    if older is not None:
        if wanted is not None:
            raise InvalidRequest(
                "'output_format' and 'output_config.format' are the same.", param="output_format"
            )
        wanted, path = older, "output_format"
    if wanted is not None:
        a_type(path, an_object(path, wanted), {"json_schema"})
        schema = an_object(f"{path}.schema", needed(path, wanted, "schema"))
        # Anthropic's are always kept to, which OpenAI does only where it is told to.
        said = {"name": "output", "schema": schema, "strict": True}
        report.rest(path, wanted, ("type", "schema"))
        fields["response_format"] = {"type": "json_schema", "json_schema": said}
    if config.get("effort") is not None:
        EFFORT("output_config.effort", config["effort"])
        fields["reasoning_effort"] = config["effort"]
    return fields


def _user(metadata: Any, report: Report) -> dict[str, Any]:
    if metadata is None:
        return {}
    report.rest("metadata", an_object("metadata", metadata), ("user_id",))
    user = metadata.get("user_id")
    if user is None:
        return {}
    if type(user) is not str:
        raise wrong_type("metadata.user_id", "a string")
    if len(user) > LONGEST_USER:
        report.drop("metadata.user_id")
        return {}
    return {"user": user}


def _thinking(given: Any, report: Report) -> None:
    """That a model thinks as much as it likes is what all do. How much cannot be told: servers
    differ in whether they can be, and `output_config.effort` says it to those that can.
    """
    if given is None:
        return
    kind = a_type("thinking", an_object("thinking", given), THINKING)
    if kind == "enabled":
        budget = needed("thinking", given, "budget_tokens")
        integer(LEAST_BUDGET, MAX_INT)("thinking.budget_tokens", budget)
    if kind == "adaptive":
        report.rest("thinking", given, ("type",))
    else:
        report.drop("thinking")


def _others(params: dict[str, Any], fields: dict[str, Any], report: Report) -> None:
    """What else the request has. Fields that nobody knows travel, and so do those of chats that
    Anthropic's API lacks, such as `seed`; those that would say a thing twice do not.
    """
    for name, value in params.items():
        if name in READ:
            continue
        check = CHAT_CHECKS.get(name)
        if check is not None and value is not None:
            check(name, value)
        if name not in FOREIGN | NO_PLACE and name not in fields:
            fields[name] = value
        elif not says_nothing(value):
            report.drop(name)


def _added(params: dict[str, Any], fields: dict[str, Any]) -> dict[str, str]:
    """Add what Anthropic's API does unasked, and say the names of it."""
    names: dict[str, str] = {}
    if fields.get("stream"):
        fields["stream_options"] = {"include_usage": True}
        names["stream_options"] = ""
    if prefills(fields["messages"]) and "continue_final_message" not in params:
        fields |= {"continue_final_message": True, "add_generation_prompt": False}
        names |= {"continue_final_message": "messages.prefill", "add_generation_prompt": ""}
    return names
