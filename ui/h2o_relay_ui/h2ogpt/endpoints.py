"""h2oGPT's endpoints in a Gradio page. They alone are public."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import gradio as gr
from gradio.components.api_component import Api
from gradio.events import api

from h2o_relay.errors import InvalidRequest, RelayError

from ..context import Context, GetContext
from ..signin import sign_in_of
from ..signin.desk import Asked
from ..signin.gate import address_of
from . import loading, positional
from .loading import Loaded
from .service import Service, system_hash

FREE: dict[str, Any] = {"concurrency_limit": None}
QUICK: dict[str, Any] = {"queue": False, **FREE}
DIRECT = ("/run/", "/api/")
"""Paths whose request lasts as long as the answer does."""
ENDINGS = ("", "_bot", "_bot_score", "2", "_bot2", "_bot_score2")
CHATS = (
    *(f"{start}{end}" for start in ("instruction", "submit", "retry") for end in ENDINGS),
    *("undo", "undo2", "undo_score", "undo_score2"),
)
"""h2oGPT's endpoints for a page's chat, whose history their caller has to keep."""
SERVICE = "h2oGPT's calls"
BREAK = "<br>"
"""Before each answer of `/submit_nochat`, unless documents are switched off."""


def add(get_context: GetContext) -> None:
    """Add them to the page that is being built.

    Gradio's queue would run one request at a time; how many run is the relay's business.
    """
    from . import system_info

    places = Places()
    _add_answers(get_context, places)
    _add_lists(get_context)
    _add_models(get_context, places)
    _add_login(get_context, places)
    for name in CHATS:
        places.add(_chat(name), 0, name, api_visibility="undocumented", **QUICK)
    system_info.add(get_context)


class Places:
    """Endpoints with many values: `gr.api` would make a component of each, and every page load
    them all. Here one stands for all values of all endpoints.
    """

    def __init__(self) -> None:
        self._value = Api(positional.ABSENT, {}, "value")
        self._never = gr.Button(visible=False)

    def add(
        self, function: Callable[..., Any], count: int, name: str, *, given: int = 1, **rest: Any
    ) -> None:
        """An endpoint that takes `count` values, Gradio dropping more of them, and gives `given`
        of them back.
        """
        self._never.click(
            function, [self._value] * count, [self._value] * given, api_name=name,
            preprocess=False, postprocess=False, show_progress="hidden", **rest,
        )  # fmt: skip


def service(context: Context) -> Service:
    """The process's one, made when it is first asked for."""
    found = context.extra.get(SERVICE)
    if not isinstance(found, Service):
        found = context.extra[SERVICE] = Service(context.relay)
    return found


def answers(context: Context, asked: Any, request: gr.Request) -> AsyncGenerator[dict[str, Any]]:
    """The service's, for whoever has sent the request."""
    owner = sign_in_of(context).user(request).owner
    return service(context).answers(asked, owner)


def _add_answers(get_context: GetContext, places: Places) -> None:
    async def submit(inputs: str, request: gr.Request) -> AsyncIterator[str]:
        """The text of a dict in, the text of a dict out, each time with the whole answer so far."""
        try:
            async with aclosing(answers(get_context(), inputs, request)) as told:
                async for one in told:
                    yield repr(one)
        except RelayError as error:
            raise shown(error) from None

    async def plain(inputs: str, request: gr.Request) -> str:
        """The same, told once."""
        last: dict[str, Any] = {}
        try:
            async with aclosing(answers(get_context(), inputs, request)) as told:
                async for one in told:
                    last = one
                    if await has_left(request):
                        break
        except RelayError as error:
            raise shown(error) from None
        return repr(last)

    async def values(request: gr.Request, *given: Any) -> AsyncIterator[str]:
        """Values in h2oGPT's order in, the answer's text out, each time the whole text so far."""
        try:
            asked = positional.submitted(given)
            before = "" if asked.get("langchain_mode") == "Disabled" else BREAK
            async with aclosing(answers(get_context(), asked, request)) as told:
                async for one in told:
                    if "response" in one:
                        yield before + one["response"]
        except RelayError as error:
            raise shown(error) from None

    api(submit, api_name="submit_nochat_api", **FREE)
    api(plain, api_name="submit_nochat_plain_api", **QUICK)
    names = (*positional.NAMES, positional.MORE)
    declared = positional.declared(values, names, gr.Request)
    places.add(declared, len(names), "submit_nochat", **FREE)


def _add_lists(get_context: GetContext) -> None:
    async def models(request: gr.Request) -> list[dict[str, Any]]:
        context = get_context()
        try:
            return await service(context).models_for(sign_in_of(context).user(request).owner)
        except RelayError as error:
            raise shown(error) from None

    async def model_names(request: gr.Request) -> str:
        """The text of a list of dicts: of the models that may be asked for."""
        return repr(await models(request))

    async def num_model_lock(request: gr.Request) -> int:
        """How many models there are."""
        return len(await models(request))

    api(model_names, api_name="model_names", **QUICK)
    api(num_model_lock, api_name="num_model_lock", **QUICK)
    api(system_hash, api_name="system_hash", **QUICK)


def _add_models(get_context: GetContext, places: Places) -> None:
    def calling(act: Callable[[Context, dict[str, Any], Any], Awaitable[Loaded]]) -> Any:
        async def change(request: gr.Request, *given: Any) -> Loaded:
            """h2oGPT's values, or some of them by name. Out come model, adapter, server, prompt
            type and context length."""
            try:
                return await act(get_context(), positional.named(positional.LOAD, given), request)
            except RelayError as error:
                raise shown(error) from None

        return positional.declared(change, positional.LOAD, gr.Request)

    for act, name in ((loading.load, "load_model"), (loading.unload, "unload_model")):
        given = len(loading.NOTHING)
        places.add(calling(act), len(positional.LOAD), name, given=given, **QUICK)


def _add_login(get_context: GetContext, places: Places) -> None:
    async def login(request: gr.Request, *given: Any) -> str:
        """Whether a name and its password are right; what may be used is said by the session."""
        name, password = positional.credentials(given)
        desk = sign_in_of(get_context())
        if not desk.signs_in:
            return "Nobody signs in here."
        asked = Asked(name, password, page=False, address=address_of(_scope(request)))
        outcome = await desk.sign_in(asked)
        if outcome.session is None:
            raise gr.Error(outcome.error, print_exception=False)
        return f"{outcome.session.name} is signed in."

    names = positional.LOGIN
    places.add(positional.declared(login, names, gr.Request), len(names), "login", **QUICK)


def _chat(name: str) -> Callable[[], str]:
    def refuse() -> str:
        """Not served: call /submit_nochat_api, which takes the conversation with each call."""
        raise shown(
            InvalidRequest(
                f"/{name} is not served: chats are kept by their owners here. Call "
                "/submit_nochat_api with the text of a dict, such as {'instruction_nochat': "
                "'and now?', 'chat_conversation': [('one', 'two')], 'stream_output': True}."
            )
        )

    return refuse


def _scope(request: gr.Request) -> Any:
    asked: Any = request.request
    return asked.scope


async def has_left(request: gr.Request) -> bool:
    """Whether nobody waits any more, as far as the request can tell."""
    asked: Any = request.request
    if not any(part in asked.url.path for part in DIRECT):
        return False
    return bool(await asked.is_disconnected())


def shown(error: RelayError) -> gr.Error:
    """The error as Gradio passes it on; any other it would hide."""
    return gr.Error(error.message, print_exception=False)
