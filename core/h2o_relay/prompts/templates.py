"""Chat templates: Jinja programs that come with models, rendered where they can do no harm.

The functions and options are those of transformers (its `apply_chat_template`), which templates
are written for. They come from outside, so that they run in Jinja's immutable sandbox in a process
of its own with limits on time, memory and output. No field of a request may become a template.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ..errors import InvalidRequest
from .catalog import by_name_or_number
from .messages import JOINT, SYSTEM_ROLES, Message, role_of, text_of
from .render import FAKE_SYSTEM_QUESTION, Clock, Rendered, local_time
from .worker_process import Worker, WorkerEnded

TEMPLATE_LIMIT: Final = 256 * 1024  # characters of a template
TURN_ENDS: Final = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|end_of_turn|>", "<end_of_turn>",
    "<|END_OF_TURN_TOKEN|>", "<|endoftext|>", "</s>", "<|return|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
)  # fmt: skip
"""What ends an answer, if the template writes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one rendering may use."""

    cpu: float = 1.0
    """Seconds of processor time."""
    wall: float = 10.0
    """Seconds altogether."""
    memory: int = 64 * 2**20
    """Bytes beyond what the process has and what the messages take."""
    output: int = 2**20
    """Characters beyond four times those of the messages."""


class TemplateRejected(InvalidRequest):
    """The template itself refused these messages."""


class TemplateRenderer:
    """Renders chat templates. Enter it on the loop that uses it; leaving ends its processes.

    Processes are started when they are needed, at most `workers`, and kept. One that a template
    has ended is replaced.
    """

    def __init__(
        self, *, workers: int = 2, limits: Limits | None = None, clock: Clock = local_time
    ) -> None:
        """`clock` is what `strftime_now` of templates tells."""
        self._limits, self._clock = limits or Limits(), clock
        self._slots = asyncio.Semaphore(workers)
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()

    async def __aenter__(self) -> TemplateRenderer:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._idle.clear()
        for worker in self._workers:
            worker.close()
        await asyncio.gather(*(worker.gone for worker in self._workers))
        self._workers.clear()

    async def check(self, template: str) -> None:
        """Compile a template. Raises InvalidRequest with the line that is wrong."""
        await self._answer({"template": _checked(template), "compile_only": True}, 0)

    async def render(
        self,
        template: str,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        bos_token: str = "",
        eos_token: str = "",
        continue_final: bool = False,
    ) -> Rendered:
        """The prompt for OpenAI messages.

        A template that refuses or ignores a system prompt is given it as the answer to
        `FAKE_SYSTEM_QUESTION` in a first turn, as h2oGPT does.
        `continue_final`: the assistant's message at the end is the answer's beginning. Raises
        InvalidRequest for messages that the template refuses, and for a template that is wrong,
        does what it may not, or takes more than its limits.
        """
        values: dict[str, Any] = {
            "tools": list(tools) if tools else None,
            "documents": None,
            "bos_token": bos_token,
            "eos_token": eos_token,
            "add_generation_prompt": not continue_final,
        }
        prepared = _prepared(template, messages)
        text = await self._with_system(_checked(template), prepared, values)
        if continue_final:
            text = _continued(text, prepared[-1])
        stops = dict.fromkeys([eos_token, *(end for end in TURN_ENDS if end in template)])
        return Rendered(text, tuple(s for s in stops if s), by_name_or_number("unknown"))

    async def _with_system(
        self, template: str, messages: list[dict[str, Any]], values: dict[str, Any]
    ) -> str:
        spoken = [m["content"] for m in messages if m["role"] in SYSTEM_ROLES]
        system = JOINT.join(filter(None, spoken))
        refused: TemplateRejected | None = None
        try:
            text = await self._text(template, messages, values)
            if not system or _contains(text, system):
                return text
        except TemplateRejected as error:
            if not system:
                raise
            refused = error
        told = [
            {"role": "user", "content": FAKE_SYSTEM_QUESTION},
            {"role": "assistant", "content": system},
            *(m for m in messages if m["role"] not in SYSTEM_ROLES),
        ]
        try:
            return await self._text(template, told, values)
        except TemplateRejected as error:
            raise refused or error from None

    async def _text(
        self, template: str, messages: list[dict[str, Any]], values: dict[str, Any]
    ) -> str:
        job = {
            "template": template,
            "values": {**values, "messages": messages},
            "now": self._clock().isoformat(),
        }
        reply = await self._answer(job, len(orjson.dumps(job["values"])))
        return str(reply["text"])

    async def _answer(self, job: dict[str, Any], size: int) -> dict[str, Any]:
        """A worker's answer to a job with `size` bytes of messages."""
        limits = self._limits
        job |= {
            "cpu": limits.cpu,
            "memory": limits.memory + 24 * size,
            "output": limits.output + 4 * size,
        }
        try:
            reply = await self._asked(orjson.dumps(job))
        except WorkerEnded as error:
            raise _unusable(str(error)) from None
        if "text" in reply:
            return reply
        if reply["kind"] == "rejected":
            raise TemplateRejected(
                f"The model's chat template refuses these messages: {_line(reply['error'])}",
                param="messages",
            )
        raise _unusable(reply["error"])

    async def _asked(self, job: bytes) -> dict[str, Any]:
        async with self._slots:
            worker = await self._worker()
            reply: dict[str, Any] | None = None
            try:
                reply = await worker.ask(job, self._limits.wall)
            finally:
                # Memory that ran out, or a job that was given up, leaves nothing to rely on.
                if reply is None or reply.get("kind") == "memory":
                    worker.close()
                else:
                    self._idle.append(worker)
            return reply

    async def _worker(self) -> Worker:
        self._workers = {worker for worker in self._workers if not worker.gone.done()}
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            worker.close()
        worker = await Worker.spawn()
        self._workers.add(worker)
        await worker.ready()
        return worker


def template_text(value: str) -> str:
    """A template as configured: Jinja, or its base64, which h2oGPT's `chat_template` may be."""
    if "{" in value:
        return value
    try:
        text = base64.b64decode("".join(value.split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return value
    return text if "{" in text else value


def _checked(template: str) -> str:
    if len(template) > TEMPLATE_LIMIT:
        raise _unusable(f"it has more than {TEMPLATE_LIMIT} characters")
    return template


def _prepared(template: str, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as templates expect them: contents are texts, arguments of calls are objects."""
    if not messages:
        raise InvalidRequest("There must be at least one message.", param="messages")
    prepared: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        entry = {key: value for key, value in message.items() if value is not None}
        entry["content"] = text_of(message.get("content"), f"messages[{number}].content")
        if role_of(message, number) == "developer" and "developer" not in template:
            entry["role"] = "system"
        if isinstance(entry.get("tool_calls"), Sequence):
            entry["tool_calls"] = [_call(call) for call in entry["tool_calls"]]
        prepared.append(entry)
    return prepared


def _call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = orjson.loads(function["arguments"])
    except orjson.JSONDecodeError:
        return call
    return {**call, "function": {**function, "arguments": arguments}}


def _contains(text: str, part: str) -> bool:
    """The text has the part in it, as it is, spaced otherwise or as JSON."""
    if part.strip() in text or orjson.dumps(part.strip()).decode()[1:-1] in text:
        return True
    return " ".join(part.split()) in " ".join(text.split())


def _continued(text: str, last: Mapping[str, Any]) -> str:
    """The text up to the end of the last message, as transformers cuts it."""
    begun = last["content"] if last.get("role") == "assistant" else ""
    for wanted in (begun, begun.rstrip(), begun.strip()):
        place = text.rfind(wanted) if wanted else -1
        if place >= 0:
            return text[: place + len(wanted)]
    raise InvalidRequest(
        "The last message is no answer that the model's chat template can continue.",
        param="messages",
    )


def _unusable(reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"The model's chat template cannot be used: {_line(reason)}.", param="chat_template"
    )


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text).rstrip(".")
