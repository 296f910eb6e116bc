"""Where an installed plugin's conformance suite is.

A plugin brings its suite along: an entry point of group `h2o_relay.suites`, under the plugin's
name, names the module. One that was installed from a folder that is still there may instead have
it in `tests/`, in files called `test_*suite*.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..plugins import PluginInfo

GROUP = "h2o_relay.suites"
PATTERN = "tests/test_*suite*.py"


class NoSuite(Exception):
    """A plugin has no suite that can be found; the message says where was looked."""


@dataclass(frozen=True, slots=True)
class Suites:
    """A plugin's test files, and the folder that they are run in."""

    root: Path
    files: tuple[Path, ...]


def find(info: PluginInfo) -> Suites:
    """Raises NoSuite."""
    named = _of_entry_point(info.name)
    if named is not None:
        return named
    folder = _folder_of(info.distribution)
    if folder is not None:
        files = tuple(sorted(folder.glob(PATTERN)))
        if files:
            return Suites(folder, files)
        raise NoSuite(f"no entry point of group {GROUP}, and no {PATTERN} in {folder}")
    raise NoSuite(f"no entry point of group {GROUP}, and it was not installed from a folder")


def _of_entry_point(name: str) -> Suites | None:
    for point in entry_points(group=GROUP, name=name):
        try:
            spec = find_spec(point.module)
        except Exception as error:  # of the plugin's own package, which is imported on the way
            raise NoSuite(f"{point.module}: {type(error).__name__}: {error}") from error
        if spec is None or spec.origin is None:
            raise NoSuite(f"its entry point names {point.module}, which there is not")
        path = Path(spec.origin)
        return Suites(path.parent, (path,))
    return None


def _folder_of(name: str) -> Path | None:
    """The folder that a distribution was installed from (PEP 610), if it is still there."""
    import json
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        text = distribution(name).read_text("direct_url.json")
    except (PackageNotFoundError, ValueError):
        return None
    if text is None:
        return None
    url = urlsplit(json.loads(text)["url"])
    folder = Path(url2pathname(url.path))
    return folder if url.scheme == "file" and folder.is_dir() else None
