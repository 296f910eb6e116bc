"""`h2o config init`: a configuration file to start from."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import click

from .failures import Failure, Mistake
from .options import RelayCommand, setting_option, switch

TEMPLATE = "start.yaml"


@click.command(cls=RelayCommand, short_help="Write a commented file to start from.")
@click.argument("file", default="h2o.yaml", metavar="[FILE]", type=click.Path())
@switch("force", help="Write over a file that is there.")
@setting_option("log_level", hidden=True)
def init(file: str, **flags: Any) -> None:
    """Write a file in which everything is explained; without FILE it is h2o.yaml.

    \b
    h2o config init
    h2o config init production.yaml
    """
    text = resources.files("h2o_relay.config").joinpath(TEMPLATE).read_text(encoding="utf-8")
    path = Path(file).expanduser()
    try:
        with path.open("w" if flags.get("force") else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise Mistake(f"{file} is there already", "--force writes over it") from None
    except OSError as error:
        raise Failure(f"cannot write {file}: {error.strerror}") from None
    click.echo(f"wrote {file}; next: h2o config check {file}; h2o run --config {file}")
