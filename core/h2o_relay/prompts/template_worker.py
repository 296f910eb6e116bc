"""Renders chat templates in a process of its own: `python -m h2o_relay.prompts.template_worker`.

It reads jobs from standard input and writes results to standard output, each a JSON object behind
its length in four bytes (big-endian). Templates run in Jinja's immutable sandbox; the kernel ends
the process when one uses up its processor time, and refuses it memory and files beyond its limits
(not all of that on Windows and macOS: there the parent's clock and the limit on output hold).
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, BinaryIO, Final

import jinja2.ext
import jinja2.nodes
import jinja2.sandbox
from jinja2.exceptions import SecurityError, TemplateSyntaxError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

HEADER: Final = 4  # bytes of a frame's length
CACHED: Final = 32  # compiled templates
ERROR_LIMIT: Final = 300  # characters of an error that are passed on
FORGET: Final = frozenset({"lipsum", "cycler", "joiner"})
"""Jinja's own globals that chat templates have no use for."""


class Rejected(Exception):
    """The template called `raise_exception`."""


class TooMuch(Exception):
    """The template wrote more than it may."""


class Generation(jinja2.ext.Extension):
    """`{% generation %}`, with which templates mark answers for training: its body is rendered."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def raise_exception(message: object) -> None:
    """What templates call for messages that they cannot render."""
    raise Rejected(str(message))


def to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The filter `tojson` as transformers has it: nothing is escaped for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


class Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Jinja's, but what may not be looked at is an error instead of nothing."""

    def unsafe_undefined(self, obj: object, attribute: str) -> Any:
        kind = type(obj).__name__
        raise SecurityError(f"the attribute {attribute!r} of {kind!r} is out of bounds")


def environment() -> Sandbox:
    """Jinja as transformers sets it up for chat templates."""
    env = Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[Generation, jinja2.ext.loopcontrols],
    )
    env.filters["tojson"] = to_json
    env.globals = {k: v for k, v in env.globals.items() if k not in FORGET}
    env.globals["raise_exception"] = raise_exception
    return env


ENVIRONMENT: Final = environment()


@lru_cache(maxsize=CACHED)
def compiled(text: str) -> tuple[jinja2.Template, bool]:
    """A template, and whether it walks over the parts of a content instead of writing it."""
    tree = ENVIRONMENT.parse(text)
    walks = any(_is_content(loop.iter) for loop in tree.find_all(jinja2.nodes.For)) and not any(
        test.name == "string" for test in tree.find_all(jinja2.nodes.Test)
    )
    return ENVIRONMENT.from_string(text), walks


def _is_content(node: jinja2.nodes.Node) -> bool:
    if isinstance(node, jinja2.nodes.Getattr):
        return node.attr == "content"
    if isinstance(node, jinja2.nodes.Getitem) and isinstance(node.arg, jinja2.nodes.Const):
        return bool(node.arg.value == "content")
    return False


def render(job: dict[str, Any]) -> str:
    """The text of one job. Raises whatever the template does."""
    template, walks = compiled(job["template"])
    if job.get("compile_only"):
        return ""
    values: dict[str, Any] = job["values"]
    if walks:
        for message in values["messages"]:
            message["content"] = [{"type": "text", "text": message["content"]}]
    now = datetime.fromisoformat(job["now"])
    values["strftime_now"] = lambda pattern: now.strftime(pattern)
    pieces: list[str] = []
    room = int(job["output"])
    for piece in template.generate(values):
        room -= len(piece)
        if room < 0:
            raise TooMuch
        pieces.append(piece)
    return "".join(pieces)


def answer(job: dict[str, Any]) -> dict[str, str]:
    """`{"text"}`, or `{"error", "kind"}`: rejected, template or memory."""
    try:
        return {"text": render(job)}
    except Rejected as error:
        return {"kind": "rejected", "error": str(error)[:ERROR_LIMIT]}
    except MemoryError:
        return {"kind": "memory", "error": "it takes more memory than it may"}
    except TooMuch:
        return {"kind": "template", "error": "it writes more text than it may"}
    except (RecursionError, OverflowError):
        return {"kind": "template", "error": "it counts or nests further than it may"}
    except OSError:
        return {"kind": "template", "error": "it needs a file that it may not open"}
    except SecurityError as error:
        return {"kind": "template", "error": f"not allowed: {error}"[:ERROR_LIMIT]}
    except TemplateSyntaxError as error:
        where = f"line {error.lineno}: {error.message}"
        return {"kind": "template", "error": where[:ERROR_LIMIT]}
    except Exception as error:  # whatever a template makes Python raise is its answer
        return {"kind": "template", "error": f"{type(error).__name__}: {error}"[:ERROR_LIMIT]}


def warm_up() -> None:
    """Let Python and Jinja import what they import on first use, while files can be opened."""
    text = "{{ 'é\\N{BULLET}' ~ strftime_now('%d %b %Y') ~ messages|tojson|pprint }}{{ 1 // none }}"
    values: dict[str, Any] = {"messages": []}
    answer({"template": text, "values": values, "now": datetime.now().isoformat(), "output": 99})
    answer({"template": "{% if %}"})
    compiled.cache_clear()


def lock_down() -> Callable[[int], None]:
    """Take from this process what rendering does not need.

    Returns a function that grants it so many bytes of memory more than it has now.
    """
    warm_up()
    if resource is None:
        return lambda _: None
    pages = _pages()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))

    def grant(size: int) -> None:
        if pages:
            resource.setrlimit(resource.RLIMIT_AS, (pages + size, resource.RLIM_INFINITY))

    return grant


def _pages() -> int:
    """Bytes of address space that the process has now; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as stat:
            return int(stat.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Say that it is ready by an empty frame, then answer jobs until the input ends."""
    grant = lock_down()
    sink.write(bytes(HEADER))
    sink.flush()
    while True:
        header = source.read(HEADER)
        if len(header) < HEADER:
            return
        size = int.from_bytes(header, "big")
        body = source.read(size)
        if len(body) < size:
            return
        job = json.loads(body)
        grant(job["memory"])
        _set_clock(job["cpu"])
        result = answer(job)
        _set_clock(0.0)
        data = json.dumps(result, ensure_ascii=False).encode("utf-8", "replace")
        sink.write(len(data).to_bytes(HEADER, "big") + data)
        sink.flush()


def _set_clock(seconds: float) -> None:
    """After so much processor time from now the kernel ends this process; 0: never."""
    if resource is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
