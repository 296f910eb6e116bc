"""`h2o plugin new`: a distribution that works and passes, to be changed into one's own."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import click

from ..plugins import RESERVED
from .failures import Mistake
from .options import RelayCommand, valued

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
FORMS = {"openai": "HOST[:PORT[:PATH[:KEY]]]", "own": "HOST[:PORT[:KEY]]"}
"""The shapes, and what their server strings look like behind the prefix."""
FILES = {
    "pyproject.toml": "pyproject.toml.in",
    "README.md": "README.md.in",
    "@package@/__init__.py": "@shape@_init.py.in",
    "@package@/conformance.py": "@shape@_conformance.py.in",
    "@package@/py.typed": None,
    "tests/test_@name@.py": "test.py.in",
}
"""Where each file goes, and its template; None is an empty file."""
PLACE = re.compile(r"@(\w+)@")


@click.command(name="new", cls=RelayCommand)
@click.argument("name", metavar="NAME")
@click.option("--shape", type=click.Choice(list(FORMS)), default="openai", show_default=True,
              help="The server speaks OpenAI's API, or a protocol of its own.")  # fmt: skip
@valued("--folder", metavar="DIR", type=click.Path(path_type=Path),
        help="Where it goes; ./h2o-relay-NAME if this is not given.")  # fmt: skip
def new_plugin(name: str, shape: str, folder: Path | None) -> None:
    """Write a plugin of your own: it works, it has tests, and it passes the conformance kit.

    NAME is the plugin's name and the prefix of its server strings: small letters, digits and
    single underscores.

    \b
    h2o plugin new acme
    h2o plugin new acme --shape own --folder work/acme
    """
    name = name.replace("-", "_")
    _check(name)
    folder = folder or Path(f"h2o-relay-{name.replace('_', '-')}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Mistake(f"{folder} is there already and not an empty folder", "say --folder DIR")
    write(folder, name, shape)
    click.echo(
        f"Wrote {folder}. What comes next:\n\n"
        f"  pip install -e {folder}\n"
        f"  h2o plugin list\n"
        f"  h2o plugin check {name}\n\n"
        "docs/writing-a-plugin.md goes through it step by step."
    )


def _check(name: str) -> None:
    """Raises Mistake for a name that a plugin cannot have."""
    from ..plugins import Plugins

    if not NAME.fullmatch(name):
        raise Mistake(
            f"{name!r} is no name for a plugin", "small letters, digits and single underscores"
        )
    if name in RESERVED or keyword.iskeyword(name):
        raise Mistake(f"{name!r} is reserved")
    if name in Plugins.discover().names():
        raise Mistake(f"a plugin named {name!r} is installed already", "see: h2o plugin list")


def write(folder: Path, name: str, shape: str) -> None:
    """Write the files of a plugin; folders are made where they are missing."""
    words = {
        "name": name,
        "package": f"h2o_relay_{name}",
        "distribution": f"h2o-relay-{name.replace('_', '-')}",
        "Class": "".join(part.title() for part in name.split("_")),
        "title": name.replace("_", " ").title(),
        "shape": shape,
        "form": FORMS[shape],
        "relay": ".".join(version("h2o-relay").split(".")[:2]),
    }
    templates = files(__package__) / "plugin_template"
    for place, template in FILES.items():
        text = ""
        if template is not None:
            source = templates / _filled(template, words)
            text = _filled(source.read_text(encoding="utf-8"), words)
        path = folder / _filled(place, words)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _filled(text: str, words: Mapping[str, str]) -> str:
    return PLACE.sub(lambda match: words[match[1]], text)
