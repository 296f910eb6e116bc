"""h2oGPT's `/system_info_dict`: how the relay is set up, for whoever has the admin password.

The shape is h2oGPT's, a JSON text with `base_model`, `hash` and the settings by name, `{}` for the
wrong password. Unlike h2oGPT's it holds no secret, and without a password it is there for this
machine alone.
"""

from __future__ import annotations

from typing import Any

import orjson
from gradio.events import api

from h2o_relay.admin import System
from h2o_relay.errors import RelayError

from ..context import Context, GetContext
from ..password_gate import gate
from .endpoints import shown
from .service import system_hash

NAME = "system_info_dict"
REFUSED = "{}"


def add(get_context: GetContext) -> None:
    """Add it to the page that is being built."""

    async def system_info_dict(system_input: str) -> str:
        """The admin password in, JSON out."""
        try:
            return await told(get_context(), system_input)
        except RelayError as error:
            raise shown(error) from None

    api(system_info_dict, api_name=NAME, concurrency_limit=None, queue=False)


async def told(context: Context, password: Any) -> str:
    """The answer. Raises RelayError where the relay does not answer."""
    given = password if isinstance(password, str) else ""
    if not await gate(context).admits(context.settings, given):
        return REFUSED
    return orjson.dumps(info(await context.relay.system(), _model(context))).decode()


def info(system: System, model: str) -> dict[str, Any]:
    """What a caller of h2oGPT reads; the settings' secrets are masked already."""
    settings = {name: value for name, value in system.settings.items() if name != "admin_pass"}
    return {
        **settings,
        "base_model": settings.get("base_model") or model,
        "hash": system_hash(),
        "version": system.version,
    }


def _model(context: Context) -> str:
    """The first model's name, as h2oGPT has where a lock says which models there are."""
    listed = context.relay.models()
    return listed[0].name if listed else ""
