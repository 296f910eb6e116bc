"""Lines on stderr beside what a command prints."""

from __future__ import annotations

import click

from .printable import one_line


def note(text: str) -> None:
    """One line on stderr that asks for nothing."""
    click.echo(click.style("h2o: note: ", fg="cyan") + one_line(text), err=True)


def warn(text: str) -> None:
    """One line of warning on stderr."""
    click.echo(click.style("h2o: warning: ", fg="yellow") + text, err=True)
