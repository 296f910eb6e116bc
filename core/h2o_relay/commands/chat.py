"""`h2o chat`: a conversation in the terminal, through the same kernel as everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ..settings import Settings
from .asking import sampling_options
from .logs import log_if_asked
from .loops import run_async
from .options import RelayCommand, chosen_level, setting_options, settings_of
from .servers import server_arguments


@click.command(cls=RelayCommand, short_help="Talk to a model in the terminal.")
@server_arguments
@sampling_options
@setting_options(listening=False)
def chat(servers: tuple[str, ...], **flags: Any) -> None:
    """Talk to a model in the terminal.

    Without a SERVER that is the relay that runs on this machine, else the embedded model.
    Ctrl-C stops an answer, Ctrl-D leaves, /help lists what else there is.

    \b
    h2o chat
    h2o chat vllm_chat:http://10.0.0.5:8000 --model my-model
    h2o chat openai_chat --system "answer in one sentence"
    """

    settings = settings_of(flags)
    log_if_asked(chosen_level(flags))
    run_async(_chat(servers, settings, flags))


async def _chat(servers: tuple[str, ...], settings: Settings, flags: Mapping[str, Any]) -> None:
    from .dialogue import Dialogue
    from .session import opened
    from .views import view_for

    async with opened(servers, settings) as kernel:
        model = kernel.find(flags.get("model") or None).name
        dialogue = Dialogue(kernel, view_for(), model, flags)
        await dialogue.run()
