"""What the operator's tuning and a server without chat make of a request before it is sent.

Limits and overrides are applied, a conversation is fitted into the context and rendered, and what
was changed is told. Requests that none of this concerns never come here (`Route.plain`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .as_text import CHAT_ONLY
from .cutting import Cutting
from .errors import InvalidRequest
from .prompts import catalog
from .prompts.fit import Fitted, fit
from .prompts.messages import SYSTEM_ROLES, Message
from .prompts.prompt_type import PromptType
from .prompts.render import Rendered, render
from .prompts.stops import StopCutter
from .trimming import FIELD, trimmed
from .types import Capabilities, Deployment, Kind, Request, Tuning

if TYPE_CHECKING:
    from .prompts.templates import TemplateRenderer
    from .registry import Route

RESERVE = 256  # tokens kept for an answer whose request names no limit
LIMITS = ("max_completion_tokens", "max_tokens")


def renders(deployment: Deployment, can: Capabilities) -> bool:
    """Whether the kernel renders this model's conversations: the operator says how, the server has
    no chat, or its string asks for the text API and h2oGPT knows the model's prompt type.
    """
    kinds = can.kinds if deployment.kinds is None else deployment.kinds
    if "text" not in kinds:
        return False
    if deployment.tuning.renders or "chat" not in kinds:
        return True
    name = deployment.base_model or deployment.model
    return deployment.server.api == "text" and catalog.for_model(name) not in catalog.NO_TYPE


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
        kind_of_prompt = await _Rendering(route, client, templates, request).run()
        return request, _cutting(route, request, kind_of_prompt)
    if kind == "chat" and FIELD in request.params and not can.truncates:
        await _trim(route, client, request)
    stops = _asked_stops(request)
    if stops and "stop" not in can.fields:
        return request, Cutting(lambda: StopCutter(stops), None, kind)
    return request, None


def tune(request: Request, tuning: Tuning, *, rendering: bool) -> None:
    """Apply what the operator set; whoever's limit was lowered is told."""
    params = dict(request.params)
    params.update(tuning.overrides)
    asked = next((name for name in LIMITS if params.get(name) is not None), None)
    if asked is None and tuning.max_new_tokens is not None:
        params["max_tokens"] = tuning.max_new_tokens
        asked = "max_tokens"
    most = tuning.max_max_new_tokens
    if most is not None and (asked is None or params[asked] > most):
        if asked is not None and request.params.get(asked) is not None:
            request.tell("limited", f"{asked}={most}")
        params[asked or "max_tokens"] = most
    messages = params.get("messages")
    if tuning.system_prompt and messages and not rendering and not _has_system(messages):
        params["messages"] = [{"role": "system", "content": tuning.system_prompt}, *messages]
    if params != request.params:
        request.params, request.body = params, None


async def _trim(route: Route, client: Any, request: Request) -> None:
    """Do what `truncation` asks for, which no server of chat completions knows."""
    params = {name: value for name, value in request.params.items() if name != FIELD}
    limit, messages = route.deployment.max_context, params["messages"]
    if request.params[FIELD] == "auto" and limit is not None:
        count = partial(_count_messages, route, client)
        kept = await trimmed(messages, count, limit, _reserve(params, limit))
        if len(kept) < len(messages):
            request.tell("trimmed", str(len(messages) - len(kept)))
            params["messages"] = list(kept)
    request.params, request.body = params, None


async def _count_messages(route: Route, client: Any, messages: Sequence[Message]) -> int | None:
    deployment, plugin = route.deployment, route.link.plugin
    if not route.link.capabilities.tokenizer:
        return None
    request = Request(
        kind="chat", params={"messages": list(messages)}, body=None, deployment=deployment
    )
    count: int | None = await plugin.count_tokens(deployment.server, client, request)
    return count


def _reserve(params: Mapping[str, Any], limit: int) -> int:
    """Tokens of the context that are kept for the answer."""
    asked = next(filter(None, map(params.get, LIMITS)), None)
    return min(RESERVE if asked is None else asked, limit // 2)


def _has_system(messages: Sequence[Message]) -> bool:
    return any(message.get("role") in SYSTEM_ROLES for message in messages)


def _asked_stops(request: Request) -> tuple[str, ...]:
    given = request.params.get("stop")
    return (given,) if isinstance(given, str) else tuple(given or ())


def _cutting(route: Route, request: Request, prompt_type: PromptType) -> Cutting:
    plugin, server = route.link.plugin, route.deployment.server
    stops = (*request.stops, *_asked_stops(request))
    fix = None
    if "fix_text" in plugin.hooks:

        def fix(text: str, final: bool) -> str:
            return str(plugin.fix_text(server, request, text, final))

    return Cutting(lambda: StopCutter.of(prompt_type, stops), fix, request.kind)


class _Rendering:
    """One conversation on its way to a prompt."""

    def __init__(
        self, route: Route, client: Any, templates: TemplateRenderer, request: Request
    ) -> None:
        self._route, self._client, self._templates = route, client, templates
        self._request = request
        self._tuning = route.deployment.tuning
        self._type, self._template = _chosen(route.deployment, request.params)

    async def run(self) -> PromptType:
        """Fill in the request's prompt and stops; the prompt type, for cutting."""
        request, limit = self._request, self._route.deployment.max_context
        params = request.params
        messages: Sequence[Message] = params["messages"]
        if limit is None:
            rendered = await self._render(messages)
        else:
            fitted = await self._fitted(messages, limit)
            rendered = fitted.rendered
            if fitted.dropped:
                request.tell("trimmed", str(fitted.dropped))
                request.params = {**params, "messages": list(fitted.messages)}
            self._leave_room(limit - fitted.tokens)
        request.body = None
        request.prompt, request.stops = rendered.prompt, rendered.stops
        read = {"tools"} if self._template is not None else set()
        request.drop(*(name for name in params if name in CHAT_ONLY and name not in read))
        return rendered.prompt_type

    async def _render(self, messages: Sequence[Message]) -> Rendered:
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
        count = self._count if self._route.link.capabilities.tokenizer else None
        return await fit(messages, self._render, count, limit, reserve)

    async def _count(self, prompt: str) -> int | None:
        request = Request(
            kind="text", params={"prompt": prompt}, body=None, deployment=self._route.deployment,
            prompt=prompt,
        )  # fmt: skip
        plugin, server = self._route.link.plugin, self._route.deployment.server
        count: int | None = await plugin.count_tokens(server, self._client, request)
        return count

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
    if given and asked in (None, ""):
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
