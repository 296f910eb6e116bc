"""What a person reads when a command fails: one line, perhaps a hint, and an exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ..settings import SettingError
from .printable import one_line, printable

if TYPE_CHECKING:
    from ..errors import BadServerString

USAGE = 2
FAILED = 1
INTERRUPTED = 130
WINDOW = 100  # columns of a server string that are shown around the place that is wrong


class Failure(click.ClickException):
    """A command failed at run time; `hint` is what to do about it."""

    exit_code = FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Mistake(Failure):
    """What was asked for cannot be done as it was written."""

    exit_code = USAGE


class Stopped(Exception):
    """The process was told to end by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number


@dataclass(frozen=True, slots=True)
class Explanation:
    """`line` is printed after `h2o: `, `hints` below it."""

    line: str
    code: int
    hints: tuple[str, ...] = ()


def explain(error: BaseException) -> Explanation:
    """The explanation of anything that ended a command."""
    from ..errors import BadServerString, RelayError

    if isinstance(error, BadServerString):
        return Explanation(one_line(f"server string: {error.reason}"), USAGE, pointer(error))
    if isinstance(error, RelayError):
        return Explanation(one_line(error.message), FAILED, _retry_hint(error))
    if isinstance(error, SettingError):
        # A configuration file tells all of its mistakes at once.
        lines = tuple(f"  {one_line(line)}" for line in getattr(error, "more", ()))
        return Explanation(one_line(getattr(error, "headline", str(error))), USAGE, lines)
    if isinstance(error, Failure):
        hints = (printable(error.hint),) if error.hint else ()
        return Explanation(one_line(error.message), error.exit_code, hints)
    if isinstance(error, click.UsageError):
        return _usage(error)
    if isinstance(error, click.ClickException):
        return Explanation(one_line(error.format_message()), error.exit_code)
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return Explanation(one_line(f"{place}{error.strerror}"), FAILED)
    line = one_line(f"internal error: {type(error).__name__}: {error}")
    return Explanation(line, FAILED, ("h2o --log-level debug … shows where it comes from",))


def pointer(error: BadServerString) -> tuple[str, ...]:
    """The masked server string, a caret under the place that is wrong, and a correct example."""
    lines: list[str] = []
    shown = printable(error.shown)
    column = min(error.column, len(shown) + 1)
    if shown:
        start = max(0, min(column - WINDOW // 2, len(shown) - WINDOW))
        lines.append("  " + shown[start : start + WINDOW])
        if column:
            lines.append(" " * (2 + column - 1 - start) + "^")
    if error.example:
        lines.append(f"  example: {printable(error.example)}")
    return tuple(lines)


def tell(found: Explanation, color: bool | None = None) -> None:
    """Print an explanation on stderr."""
    name = click.style("h2o:", fg="red", bold=True)
    click.echo(f"{name} {found.line}", err=True, color=color)
    for hint in found.hints:
        click.echo(hint, err=True, color=color)


def _retry_hint(error: object) -> tuple[str, ...]:
    after = getattr(error, "retry_after", None)
    return () if after is None else (f"try again in {after:g} seconds",)


def _usage(error: click.UsageError) -> Explanation:
    path = error.ctx.command_path if error.ctx else "h2o"
    line = error.format_message()
    if isinstance(error, click.NoSuchOption):
        line = f"unknown option {error.option_name}" + _nearest(error.possibilities)
    elif isinstance(error, click.exceptions.NoSuchCommand):
        line = f"unknown command {error.command_name!r}" + _nearest(error.possibilities)
    line = line[:1].lower() + line[1:]
    return Explanation(one_line(line.rstrip(".")), USAGE, (f"see: {path} --help",))


def _nearest(possibilities: list[str] | None) -> str:
    return f"; did you mean {possibilities[0]}?" if possibilities else ""
