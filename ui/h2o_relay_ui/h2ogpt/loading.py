"""`/load_model` and `/unload_model`: models added and let go by program, as in the Models tab.

In h2oGPT they fill one model's place; here a server string adds a model beside the others, and a
name alone asks the server to load one that it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from h2o_relay.admin import DeploymentView
from h2o_relay.errors import Forbidden, InvalidRequest, ModelNotFound

from ..context import Context
from ..models_view import GUEST
from ..password_gate import gate

NONE = frozenset({"", "None", "[]", "[None/Remove]"})
"""h2oGPT's words for no model, no adapter and no server."""
Loaded = tuple[str, str, str, str, int]
"""The first of what h2oGPT answers: model, adapter, server, prompt type and context length."""
NOTHING: Loaded = ("", "", "", "", 0)


async def load(context: Context, given: Mapping[str, Any], request: Any) -> Loaded:
    """`request` is Gradio's, of whoever asks. Raises RelayError."""
    await _admit(context, given, request)
    name, server = _text(given, "base_model"), _text(given, "inference_server")
    if _text(given, "lora_weights"):
        raise InvalidRequest("adapters are loaded by the server; ask for one by the name it has")
    if not name and not server:
        raise InvalidRequest("'base_model' must be a model's name", param="base_model")
    there = _find(context, name)
    if not server:
        if there is None:
            raise ModelNotFound(f"The model {name[:100]!r} is not there.", param="base_model")
        if there.loadable:
            await context.relay.set_loaded(there.name, True)
        return _told(there)
    entry: dict[str, Any] = {"inference_server": server}
    entry |= {"base_model": name} if name else {}
    for key in ("prompt_type", "max_seq_len"):
        value = _text(given, key) if key == "prompt_type" else _tokens(given)
        entry |= {key: value} if value else {}
    id = await context.relay.add(entry)
    added = next((view for view in context.relay.deployments() if view.id == id), None)
    return _told(added) if added else (name, "", "", str(entry.get("prompt_type", "")), 0)


async def unload(context: Context, given: Mapping[str, Any], request: Any) -> Loaded:
    """Raises RelayError."""
    await _admit(context, given, request)
    name = _text(given, "base_model")
    there = _find(context, name)
    if there is None:
        raise ModelNotFound(f"The model {name[:100]!r} is not there.", param="base_model")
    if there.loadable:
        await context.relay.set_loaded(there.name, False)
    elif there.added:
        await context.relay.remove(there.id)
    else:
        raise InvalidRequest(f"the server of {there.name!r} cannot unload it")
    return NOTHING


async def _admit(context: Context, given: Mapping[str, Any], request: Any) -> None:
    """Raises Forbidden or Unauthorized for whoever may not: without an admin password those who
    may not in the Models tab.
    """
    if context.settings.admin_pass:
        if await gate(context).admits(context.settings, str(given.get("admin_pass") or "")):
            return
        raise Forbidden("Models are added with the admin password: pass it as admin_pass.")
    if not context.may_add:
        raise Forbidden("Models cannot be added here.")
    if context.user(request).guest:
        raise Forbidden(GUEST)


def _find(context: Context, name: str) -> DeploymentView | None:
    views = context.relay.deployments()
    return next((view for view in views if name and name in (view.name, view.base_model)), None)


def _told(view: DeploymentView) -> Loaded:
    return (view.name, "", view.server, view.prompt_type or "", view.max_context or 0)


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None or value in ([], ()):
        return ""
    if not isinstance(value, str):
        raise InvalidRequest(f"{name!r} must be a text", param=name, code="invalid_type")
    return "" if value.strip() in NONE else value.strip()


def _tokens(given: Mapping[str, Any]) -> int | None:
    """h2oGPT has -1 for a length that is not set."""
    value = given.get("max_seq_len")
    if value in (None, "", -1):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise InvalidRequest("'max_seq_len' must be a whole number", param="max_seq_len")
    return int(value) if value > 0 else None
