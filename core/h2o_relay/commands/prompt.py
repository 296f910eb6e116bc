"""`h2o prompt`: the prompt types, and exactly what a model is given to complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from .failures import Mistake
from .options import RelayCommand, setting_option, switch, valued

if TYPE_CHECKING:
    from ..errors import InvalidRequest


def complete_type(ctx: click.Context, param: click.Parameter, word: str) -> list[CompletionItem]:
    """The names of the prompt types, for tab completion."""
    from ..prompts.catalog import names

    return [CompletionItem(name) for name in names() if name.startswith(word.lower())]


@click.group(invoke_without_command=True, short_help="List prompt types, or render a prompt.")
@click.pass_context
def prompt(ctx: click.Context) -> None:
    """What models that only complete text are given: prompt types and chat templates.

    \b
    h2o prompt list                             every prompt type
    h2o prompt render --prompt_type llama2      an example in that type
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_types)


@prompt.command(name="list", cls=RelayCommand)
@click.argument("wanted", required=False, metavar="[NAME]", shell_complete=complete_type)
@switch("json", help="Print JSON, with every model.")
@setting_option("log_level", hidden=True)
def list_types(wanted: str | None = None, **flags: Any) -> None:
    """The prompt types, and which models they are for.

    NAME is a part of a type's or of a model's name, or a type's number.

    \b
    h2o prompt list
    h2o prompt list vicuna
    h2o prompt list mistralai/Mistral-7B-Instruct-v0.1 --json
    """
    from .prompt_views import type_row, type_table
    from .tables import print_json

    rows = [row for row in map(type_row, _every_type()) if _matches(row, wanted)]
    if not rows:
        raise Mistake(
            f"no prompt type and no model is called {wanted!r}{_nearest(wanted or '')}",
            "see: h2o prompt list",
        )
    if flags.get("json"):
        print_json(rows)
    else:
        type_table(rows, wanted)


@prompt.command(cls=RelayCommand)
@valued("--prompt-type", metavar="TYPE", shell_complete=complete_type,
        help="A prompt type's name or number.")  # fmt: skip
@valued("--prompt-dict", metavar="DICT", help="The markers of a type of one's own (custom).")
@valued("--chat-template", metavar="FILE", help="A Jinja chat template; - for stdin.")
@valued("--model", "--base-model", "model", metavar="NAME", help="A model, for its prompt type.")
@valued("--messages", metavar="FILE",
        help="JSON: OpenAI messages, or a request that holds them; - for stdin.")  # fmt: skip
@click.option("--instruction", metavar="TEXT", help="What is asked, instead of messages.")
@valued("--chat-conversation", metavar="PAIRS", help="What came before: [[question, answer], ...].")
@click.option("--iinput", metavar="TEXT", help="The extra input of instruct types.")
@valued("--system-prompt", metavar="TEXT", help="Where the messages have none; auto: the type's.")
@valued("--bos-token", metavar="TEXT", help="For the template: the beginning of a text.")
@valued("--eos-token", metavar="TEXT", help="For the template: the end of a text.")
@valued("--clock", metavar="TIME", help="What time it is, for prompts that tell it (ISO 8601).")
@switch("continue-final", help="The last message is an answer that is to be continued.")
@switch("raw", help="The prompt's bytes and nothing else.")
@switch("escaped", help="The prompt as one JSON string.")
@switch("frame", help="The prompt with its ends of lines and spaces made visible.")
@switch("json", help="Print JSON.")
@setting_option("log_level", hidden=True)
def render(**flags: Any) -> None:
    """Render messages into the prompt that a text-only server would get.

    Without messages a short example is rendered. A terminal gets a frame; a file or a pipe gets
    the prompt's exact bytes, and stderr says which type was chosen, why, and what the stop
    sequences are.

    \b
    h2o prompt render --prompt_type llama2
    h2o prompt render --model lmsys/vicuna-13b-v1.5 --messages chat.json
    h2o prompt render --chat_template template.jinja --messages chat.json --json
    h2o prompt render --prompt_type 3 --instruction "Why is the sky blue?" --raw
    """
    from ..errors import InvalidRequest
    from .prompt_render import render_as_asked
    from .prompt_views import show, way_of_showing

    way = way_of_showing(flags)
    try:
        shown = render_as_asked(flags)
    except InvalidRequest as error:
        raise _mistake(error) from None
    show(shown, way)


def _mistake(error: InvalidRequest) -> Mistake:
    """What an API answers to a request, told to somebody who typed a command."""
    message = error.message[:1].lower() + error.message[1:]
    if error.param and "[" in error.param and error.param not in message:
        message = f"{error.param}: {message}"
    return Mistake(message, "see: h2o prompt list" if error.param == "prompt_type" else "")


def _every_type() -> list[Any]:
    from ..prompts.catalog import by_name_or_number, names

    return sorted(map(by_name_or_number, names()), key=lambda kind: kind.number)


def _matches(row: dict[str, Any], wanted: str | None) -> bool:
    if not wanted:
        return True
    word = wanted.strip().lower()
    if word.removeprefix("-").isdecimal():
        return word == str(row["number"])
    return any(word in name.lower() for name in (row["prompt_type"], *row["models"]))


def _nearest(word: str) -> str:
    from ..prompts.catalog import models, names
    from ..prompts.prompt_type import nearest

    found = nearest(word, (*names(), *models()))
    return f"; d{found[2:]}" if found else ""
