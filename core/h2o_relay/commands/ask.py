"""`h2o ask`: one answer on stdout, for people and for pipes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from ..notes import in_words
from ..settings import Settings
from .asking import Growing, request, sampling_options, streamed
from .failures import Failure, Mistake
from .logs import log_if_asked
from .loops import run_async
from .notes import note
from .options import (
    RelayCommand,
    chosen_level,
    setting_options,
    settings_of,
    switch,
    valued,
)
from .printable import printable
from .servers import complete_server

if TYPE_CHECKING:
    from ..kernel import Kernel


@click.command(cls=RelayCommand, short_help="Print one answer, for scripts.")
@click.argument("words", nargs=-1, metavar="PROMPT")
@valued(
    "--server", multiple=True, metavar="SERVER", shell_complete=complete_server,
    help="Ask this server; by default the relay that runs here, else the embedded model.",
)  # fmt: skip
@sampling_options
@switch("json", help="Print the completion object.")
@setting_options(listening=False)
def ask(words: tuple[str, ...], server: tuple[str, ...], **flags: Any) -> None:
    """Print one answer. What is piped in is added to the prompt.

    \b
    h2o ask "why is the sky blue?"
    cat notes.txt | h2o ask "summarise in one sentence" > summary.txt
    h2o ask --server vllm_chat:http://10.0.0.5:8000 --max-tokens 50 "hello"
    h2o ask --json "hello" | jq .usage
    """

    settings = settings_of(flags)
    log_if_asked(chosen_level(flags))
    run_async(_ask(prompt_of(words), server, settings, flags))


def prompt_of(words: tuple[str, ...]) -> str:
    """The prompt: the arguments, and below them what was piped in. Raises Mistake."""
    piped = ""
    if sys.stdin is not None and not sys.stdin.isatty():
        try:
            piped = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError:
            raise Mistake("what was piped in is not UTF-8 text") from None
    prompt = "\n\n".join(part for part in (" ".join(words), piped) if part.strip())
    if not prompt:
        raise Mistake("nothing was asked", 'try: h2o ask "why is the sky blue?"')
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise Mistake("the prompt is not UTF-8 text") from None
    return prompt


async def _ask(
    prompt: str, servers: tuple[str, ...], settings: Settings, flags: Mapping[str, Any]
) -> None:
    from .session import opened

    system = [{"role": "system", "content": flags["system"]}] if flags.get("system") else []
    messages = [*system, {"role": "user", "content": prompt}]
    async with opened(servers, settings) as kernel:
        params = request(kernel.find(flags.get("model") or None).name, messages, flags)
        if flags.get("json"):
            from .tables import print_json

            completion = await kernel.generate("chat", params)
            print_json(completion.data)
            reason = completion.finish_reason
            told = in_words(completion.notes, completion.dropped)
        else:
            answer = await _print_answer(kernel, params)
            reason, told = answer.finish_reason, answer.notes
    for line in told:
        note(line)
    if reason == "length" and flags.get("max_tokens") is None:
        raise Failure(
            "the answer was cut at the model's limit", "give --max-tokens to set your own"
        )


async def _print_answer(kernel: Kernel, params: Mapping[str, Any]) -> Growing:
    """Stream an answer to stdout, and end its line."""
    answer = Growing(kernel, streamed(params))
    shown = printable if sys.stdout.isatty() else str
    try:
        async with aclosing(answer.pieces()) as pieces:
            async for piece in pieces:
                if piece:
                    sys.stdout.write(shown(piece))
                    sys.stdout.flush()
    finally:
        if answer.text and not answer.text.endswith("\n"):
            sys.stdout.write("\n")
            sys.stdout.flush()
    return answer
