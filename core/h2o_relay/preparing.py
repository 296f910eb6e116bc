"""What the operator's tuning and a server without chat make of a request before it is sent.

Limits and overrides are applied, a conversation is fitted into the context and rendered, and what
was changed is told. Requests that none of this concerns never come here (`Route.plain`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from . import as_chat
from .as_text import CHAT_ONLY, asked_stops
from .cutting import Cutting
from .errors import ContextTooLong, InvalidRequest, RelayError
from .faults import fault
from .prompts import catalog
from .prompts.fit import SPECIAL_TOKENS, Fitted, fit
from .prompts.messages import SYSTEM_ROLES, Message
from .prompts.prompt_type import PromptType
from .prompts.render import Rendered, render
from .prompts.stops import StopCutter
from .trimming import FIELD, trimmed
from .types import Capabilities, Deployment, Kind, Request, Server, Tuning

if TYPE_CHECKING:
    from .prompts.templates import TemplateRenderer
    from .route import Route

log = logging.getLogger(__name__)
COUNT_WAIT = 5.0  # seconds that a server has to count a prompt
RESERVE = 256  # tokens kept for an answer whose request names no limit
ANSWER = 1024  # tokens of an answer whose context nobody knows: h2oGPT's max_new_tokens
CHAT_TYPES = frozenset({"openai_chat", "anthropic", "google", "mistralai", "groq", "unknown"})
"""Prompt types that stand for a server's own chat (h2oGPT's recipe for Ollama names one)."""
LIMITS = ("max_completion_tokens", "max_tokens")
FOREIGN_LIMITS = ("n_predict", "max_new_tokens")
"""What llama.cpp and TGI call it. llama.cpp reads all but TGI's for either API; its own name wins,
and -1 is no limit there."""


def renders(deployment: Deployment, can: Capabilities) -> bool:
    """Whether the kernel renders this model's conversations: the operator says how, the server has
    no chat, or its string asks for the text API and h2oGPT knows the model's prompt type.
    """
    kinds = can.kinds if deployment.kinds is None else deployment.kinds
    if "text" not in kinds:
        return False
    if "chat" not in kinds:
        return True
    if deployment.tuning.renders and not ignores_type(deployment.server, deployment.tuning):
        return True
    name = deployment.base_model or deployment.model
    return deployment.server.api == "text" and catalog.for_model(name) not in catalog.NO_TYPE


def ignores_type(server: Server, tuning: Tuning) -> bool:
    """Whether a prompt type means nothing here, as in h2oGPT: the string asks for the server's own
    chat, or the type stands for that. A chat template always means something.
    """
    if tuning.chat_template is not None:
        return False
    asked = server.shown.partition(":")[0].strip().endswith("_chat")
    return asked or (tuning.prompt_dict is None and str(tuning.prompt_type) in CHAT_TYPES)


async def prepare(
    route: Route, client: Any, templates: TemplateRenderer,
    kind: Kind, params: Mapping[str, Any], body: bytes | None,
) -> tuple[Request, Cutting | None]:  # fmt: skip
    """The request to send, and how its answers are cut, if they are.

    Raises InvalidRequest for messages that cannot be rendered, ContextTooLong where not even the
    last turn fits.
    """
    deployment, can = route.deployment, route.link.capabilities
    request = Request(kind=kind, params=params, body=body, deployment=deployment)
    tune(request, deployment.tuning, rendering=kind == "chat" and route.renders)
    if kind == "chat" and route.renders:
        rendered = await _Rendering(route, client, templates, request).run()
        cutting = _cutting(route, request, rendered)
        _limit_stops(request, can.stops)
        return request, cutting
    if kind == "text" and route.wraps:
        as_chat.converted(request)
    if kind == "chat" and FIELD in request.params and not can.truncates:
        await _trim(route, client, request)
    stops = asked_stops(request)
    if stops and "stop" not in can.fields:
        return request, Cutting(lambda: StopCutter(stops), None, kind, stops)
    return request, None


def tune(request: Request, tuning: Tuning, *, rendering: bool) -> None:
    """Apply what the operator set; whoever's limit was lowered is told."""
    params = dict(request.params)
    params.update(tuning.overrides)
    # /completions knows max_tokens alone; a server of chats may read either of the two names.
    limits = LIMITS if request.kind == "chat" else LIMITS[1:]
    asked = [name for name in limits if params.get(name) is not None]
    if not asked:
        params |= {"max_tokens": tuning.max_new_tokens} if tuning.max_new_tokens else {}
    most = tuning.max_max_new_tokens
    if most is not None:
        given = [name for name in (*LIMITS, *FOREIGN_LIMITS) if params.get(name) is not None]
        lowered = [name for name in given if _is_over(params[name], most)]
        if lowered:
            request.tell("limited", ", ".join(f"{name}={most}" for name in lowered))
        params |= dict.fromkeys(lowered, most)
        if not asked:
            params["max_tokens"] = min(params.get("max_tokens") or most, most)
    messages = params.get("messages")
    if tuning.system_prompt and messages and not rendering and not _has_system(messages):
        params["messages"] = [{"role": "system", "content": tuning.system_prompt}, *messages]
    if params != request.params:
        request.params, request.body = params, None


def _is_over(limit: Any, most: int) -> bool:
    return type(limit) is not int or not 0 <= limit <= most


async def _trim(route: Route, client: Any, request: Request) -> None:
    """Do what `truncation` asks for, which no server of chat completions knows."""
    params = {name: value for name, value in request.params.items() if name != FIELD}
    limit, messages = route.deployment.max_context, params["messages"]
    if request.params[FIELD] == "auto" and limit is not None:
        count = partial(_count_messages, route, client)
        fitted = await trimmed(messages, count, limit, _reserve(params, limit))
        if fitted is not None and fitted.dropped:
            _tell_trimmed(request, fitted)
            params["messages"] = list(fitted.messages)
    request.params, request.body = params, None


def _tell_trimmed(request: Request, fitted: Fitted) -> None:
    request.tell("trimmed", str(fitted.dropped))
    if fitted.estimated:
        request.tell("trimmed-by", "estimate")


async def _count_messages(route: Route, client: Any, messages: Sequence[Message]) -> int | None:
    request = Request(
        kind="chat", params={"messages": list(messages)}, body=None, deployment=route.deployment
    )
    return await counted(route, client, request)


async def prompt_of(route: Route, templates: TemplateRenderer, request: Request) -> str:
    """What a conversation becomes where the kernel renders it, whatever its length."""
    rendering = _Rendering(route, None, templates, request)
    return (await rendering.render(request.params["messages"])).prompt


async def counted(route: Route, client: Any, request: Request) -> int | None:
    """Tokens as the server counts them; None where it cannot, or takes too long to say."""
    plugin = route.link.plugin
    if not route.link.capabilities.tokenizer:
        return None
    try:
        async with asyncio.timeout(COUNT_WAIT):
            count = await plugin.count_tokens(route.deployment.server, client, request)
    except (TimeoutError, RelayError) as error:
        log.info("%s did not count tokens: %s", route.deployment.server.shown, error)
        return None
    except Exception as error:
        raise fault(plugin, "count_tokens", error) from error
    return count if type(count) is int and count >= 0 else None


def _reserve(params: Mapping[str, Any], limit: int) -> int:
    """Tokens of the context that are kept for the answer."""
    asked = next(filter(None, map(params.get, LIMITS)), None)
    return min(RESERVE if asked is None else asked, limit // 2)


def _has_system(messages: Sequence[Message]) -> bool:
    return any(message.get("role") in SYSTEM_ROLES for message in messages)


def _cutting(route: Route, request: Request, rendered: Rendered) -> Cutting:
    plugin, server = route.link.plugin, route.deployment.server
    stops = (*rendered.stops, *asked_stops(request))
    fix = None
    if "fix_text" in plugin.hooks:

        def fix(text: str, final: bool) -> str:
            return str(plugin.fix_text(server, request, text, final))

    return Cutting(
        lambda: StopCutter.of(rendered.prompt_type, stops), fix, request.kind, asked_stops(request)
    )


def _limit_stops(request: Request, most: int | None) -> None:
    """Send no more of the caller's stop strings than the server takes: all of them are cut here."""
    asked = asked_stops(request)
    if most is not None and len(asked) > most:
        request.params = {**request.params, "stop": list(asked[:most])}


def _room(fitted: Fitted, limit: int) -> int:
    """Tokens that are certainly left for the answer, if that is enough for one; else as counted."""
    room = limit - fitted.tokens
    if not fitted.estimated:
        return room
    certain = limit - len(fitted.prompt.encode("utf-8", "replace")) - SPECIAL_TOKENS
    return max(certain, min(RESERVE, room))


class _Rendering:
    """One conversation on its way to a prompt."""

    def __init__(
        self, route: Route, client: Any, templates: TemplateRenderer, request: Request
    ) -> None:
        self._route, self._client, self._templates = route, client, templates
        self._request = request
        self._tuning = route.deployment.tuning
        self._type, self._template = _chosen(route.deployment, request.params)

    async def run(self) -> Rendered:
        """Fill in the request's prompt and stops; what was rendered, for cutting."""
        request, limit = self._request, self._route.deployment.max_context
        params = request.params
        messages: Sequence[Message] = params["messages"]
        room = None
        if limit is None:
            rendered = await self.render(messages)
        else:
            fitted = await self._fitted(messages, limit)
            rendered = fitted.rendered
            if fitted.dropped:
                _tell_trimmed(request, fitted)
                request.params = {**params, "messages": list(fitted.messages)}
            room = _room(fitted, limit)
            self._leave_room(room)
        self._end_late(room)
        request.body = None
        request.tell("translated", "chat-to-completions")
        request.prompt, request.stops = rendered.prompt, self._told(rendered.stops)
        read = {"tools"} if self._template is not None else set()
        if params.get("continue_final_message") is True:
            read.add("add_generation_prompt")  # says the same once more
        request.drop(*(name for name in params if name in CHAT_ONLY and name not in read))
        if params.get("prompt_dict") and rendered.prompt_type.name != "custom":
            request.drop("prompt_dict")
        return rendered

    def _told(self, stops: tuple[str, ...]) -> tuple[str, ...]:
        """The stop strings that the server is told beside the caller's; all are cut here anyway."""
        most = self._route.link.capabilities.stops
        if most is None:
            return stops
        return stops[: max(0, most - len(asked_stops(self._request)))]

    async def render(self, messages: Sequence[Message]) -> Rendered:
        tuning, params = self._tuning, self._request.params
        final = params.get("continue_final_message") is True
        if self._template is None:
            return render(
                self._type, messages, system_prompt=tuning.system_prompt, continue_final=final
            )
        if tuning.system_prompt and not _has_system(messages):
            messages = [{"role": "system", "content": tuning.system_prompt}, *messages]
        return await self._templates.render(
            self._template, messages, tools=params.get("tools"), continue_final=final
        )

    async def _fitted(self, messages: Sequence[Message], limit: int) -> Fitted:
        reserve = _reserve(self._request.params, limit)
        try:
            fitted = await fit(messages, self.render, self._count, limit, reserve)
        except ContextTooLong:
            least = min(RESERVE, limit // 4)
            if least >= reserve:
                raise
            # A shorter answer than was asked for, and it is said.
            fitted = await fit(messages, self.render, self._count, limit, least)
        if fitted.dropped and self._request.params.get(FIELD) == "disabled":
            raise ContextTooLong(
                f"The conversation does not fit into this model's context of {limit} tokens, and "
                "truncation is disabled.",
                param="messages",
            )
        return fitted

    async def _count(self, prompt: str) -> int | None:
        request = Request(
            kind="text", params={"prompt": prompt}, body=None, deployment=self._route.deployment,
            prompt=prompt,
        )  # fmt: skip
        return await counted(self._route, self._client, request)

    def _end_late(self, room: int | None) -> None:
        """A chat without a limit goes on to the end of the context; /completions has 16 tokens."""
        params = self._request.params
        if all(params.get(name) is None for name in LIMITS):
            self._request.params = {**params, "max_tokens": ANSWER if room is None else room}

    def _leave_room(self, room: int) -> None:
        """No server takes a limit that prompt and answer could not have together."""
        params = self._request.params
        asked = next((name for name in LIMITS if params.get(name) is not None), None)
        if asked is not None and params[asked] > room:
            self._request.params = {**params, asked: room}
            self._request.tell("limited", f"{asked}={room}")


def _chosen(deployment: Deployment, params: Mapping[str, Any]) -> tuple[PromptType, str | None]:
    """The prompt type, and the chat template that takes its place if there is one.

    A request may choose a type by name or give a `prompt_dict`, but never a template. Of the
    operator's settings the template beats the type that the model's name has.
    """
    tuning = deployment.tuning
    asked, given = params.get("prompt_type"), params.get("prompt_dict")
    if asked in catalog.UNSET:
        asked = None  # h2oGPT's clients say so where they choose none
    if given and asked is None:
        asked = "custom"
    if asked is not None and type(asked) not in (str, int):
        raise InvalidRequest(
            "'prompt_type' must be a string.", param="prompt_type", code="invalid_type"
        )
    configured = tuning.prompt_type
    if tuning.prompt_dict and configured is None:
        configured = "custom"
    template = tuning.chat_template if asked is None else None
    kind = catalog.resolve(
        deployment.base_model or deployment.model, asked=asked, configured=configured,
        prompt_dict=given or tuning.prompt_dict, has_template=template is not None,
    )  # fmt: skip
    return kind, template
