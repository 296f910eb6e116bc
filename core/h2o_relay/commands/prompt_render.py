"""What `h2o prompt render` renders: the conversation, the prompt type or template, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..prompts.catalog import NO_TYPE, UNSET, by_name_or_number, for_model, get, resolve
from ..prompts.prompt_type import PromptType
from ..prompts.render import DEFAULT, Clock, Rendered, local_time, render
from ..prompts.templates import TemplateRenderer, template_text
from .failures import Mistake
from .loops import run_async
from .prompt_input import Conversation, conversation, text_file, utf8

PATHS = (".gguf", ".bin")


@dataclass(frozen=True, slots=True)
class Choice:
    """What writes the conversation down."""

    kind: PromptType | None
    """None: the template does."""
    template: str | None
    chosen_by: str
    """prompt_type, prompt_dict, chat_template, model, or fallback: no type is known."""
    reason: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A prompt, and how it came about."""

    rendered: Rendered
    choice: Choice
    messages: int


def render_as_asked(flags: Mapping[str, Any]) -> Shown:
    """Read what the options name and render it.

    Raises Mistake for options and files that cannot be read or do not go together, InvalidRequest
    for messages, prompt types and templates that cannot be used.
    """
    if (flags.get("messages"), flags.get("chat_template")).count("-") > 1:
        raise Mistake("--messages and --chat-template cannot both come from stdin")
    talk = conversation(flags)
    choice = choose(flags, talk.model)
    clock = _clock(flags.get("clock"))
    system = flags.get("system_prompt")
    utf8(system, "--system-prompt")
    if choice.kind is None:
        rendered = run_async(_by_template(choice.template or "", talk, flags, clock))
    else:
        _refuse_template_options(flags, talk)
        rendered = render(
            choice.kind, talk.messages, system_prompt=system, extra_input=talk.extra_input,
            continue_final=bool(flags.get("continue_final")), clock=clock,
        )  # fmt: skip
    utf8(rendered.prompt, "the prompt")
    return Shown(rendered, choice, len(talk.messages))


def choose(flags: Mapping[str, Any], model_asked: str | None = None) -> Choice:
    """The prompt type or the template that the options ask for, else the model's own."""
    asked = None if flags.get("prompt_type") in (None, *UNSET) else str(flags["prompt_type"])
    markers, path = flags.get("prompt_dict"), flags.get("chat_template")
    model = flags.get("model") or model_asked
    if asked is not None:
        kind = by_name_or_number(asked)
        if path and kind.name not in NO_TYPE:
            raise Mistake(f"--prompt-type {kind.name} and --chat-template exclude each other")
        if markers and kind.name != "custom":
            raise Mistake(f"--prompt-dict is read for the type custom, not for {kind.name}")
        if not path:
            reason = "asked for with --prompt-type" + _overruled(kind, model)
            return Choice(get(asked, markers), None, "prompt_type", reason)
    if markers and path:
        raise Mistake("--prompt-dict and --chat-template exclude each other")
    if markers:
        return Choice(get("custom", markers), None, "prompt_dict", "given with --prompt-dict")
    if path:
        text = template_text(text_file(path, "--chat-template"))
        return Choice(None, text, "chat_template", "given with --chat-template")
    if model:
        return _of_model(model)
    raise Mistake(
        "nothing says which prompt is meant: give --prompt-type, --prompt-dict, --chat-template "
        "or --model",
        "see: h2o prompt list",
    )


def _of_model(model: str) -> Choice:
    path = model if "://" in model or model.lower().endswith(PATHS) else None
    kind = resolve(model, model_path=path)
    if for_model(model, path) in NO_TYPE:
        reason = f"no type is known for {model}, and this one is the fallback without a template"
        return Choice(kind, None, "fallback", reason)
    return Choice(kind, None, "model", f"the type of {model}")


def _overruled(kind: PromptType, model: str | None) -> str:
    if not model:
        return ""
    own = for_model(model)
    if own == kind.name:
        return f", and the type of {model}"
    return f"; {model} has {'no type of its own' if own in NO_TYPE else own}"


async def _by_template(
    template: str, talk: Conversation, flags: Mapping[str, Any], clock: Clock
) -> Rendered:
    if talk.extra_input:
        raise Mistake("--iinput is for prompt types; a chat template has no place for it")
    messages, system = talk.messages, flags.get("system_prompt")
    if system and system not in DEFAULT and not talk.has_system:
        messages = [{"role": "system", "content": system}, *messages]
    async with TemplateRenderer(clock=clock) as renderer:
        return await renderer.render(
            template, messages, tools=talk.tools,
            bos_token=flags.get("bos_token") or "", eos_token=flags.get("eos_token") or "",
            continue_final=bool(flags.get("continue_final")),
        )  # fmt: skip


def _refuse_template_options(flags: Mapping[str, Any], talk: Conversation) -> None:
    for name in ("bos_token", "eos_token"):
        if flags.get(name):
            raise Mistake(f"--{name.replace('_', '-')} is for chat templates alone")
    if talk.tools:
        raise Mistake("prompt types have no place for tools: these need a chat template")


def _clock(text: str | None) -> Clock:
    if not text:
        return local_time
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Mistake(f"--clock: {text!r} is no time like 2024-03-05T14:07:09") from None
    return lambda: time
