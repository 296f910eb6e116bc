"""The model files on this machine: where they lie, which there are, whether one can be read.

Everything here blocks; call it in a thread. The format's head is that of llama.cpp's GGUF
specification: the bytes `GGUF`, a version and two counts, 24 bytes in all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from h2o_relay import settings
from h2o_relay.errors import UpstreamUnavailable
from h2o_relay.types import Server

from .source import DEFAULT_MODEL, SUFFIX, model_name

MAGIC = b"GGUF"
HEAD = 24  # bytes
DEFAULT_SIZE = 98_362_432  # bytes
LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}$")
POINT_AT = "point at a GGUF file: h2o run llama_cpp:/path/to/model.gguf"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A pulled model; `llama_cpp:NAME` serves it."""

    name: str
    path: Path
    size: int
    """Bytes of the file, of the first one where it has parts."""


def models_dir(env: Mapping[str, str] | None = None) -> Path:
    """Where pulled models are kept."""
    return settings.cache_dir(env) / "models"


def local_models() -> list[LocalModel]:
    """The pulled models, by name; files that are no GGUF and later parts are left out."""
    root = models_dir()
    found = []
    for path in root.rglob(f"*{SUFFIX}"):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if not hidden and not LATER_PART.search(path.stem) and problem(path) is None:
            found.append(LocalModel(model_name(path.name), path, path.stat().st_size))
    return sorted(found, key=lambda model: (model.name, model.path))


def place(server: Server) -> Path | None:
    """The file of a server's model, be it there or not; None for a name that was never pulled.

    Raises UpstreamUnavailable where several files have that name.
    """
    if "path" in server.options:
        try:
            return Path(server.options["path"]).expanduser().absolute()
        except RuntimeError as error:  # ~nobody
            raise UpstreamUnavailable(f"{server.shown}: {error}") from error
    if "hf" in server.options:
        return models_dir() / str(server.options["hf"])
    if server.model == DEFAULT_MODEL:
        return models_dir() / f"{DEFAULT_MODEL}{SUFFIX}"
    named = [model.path for model in local_models() if model.name == server.model]
    if len(named) > 1:
        files = " and ".join(str(path.relative_to(models_dir())) for path in named)
        raise UpstreamUnavailable(
            f"{server.shown} may mean {files}; name one as llama_cpp:hf:OWNER/REPO/FILE"
        )
    return named[0] if named else None


def locate(server: Server) -> Path:
    """The readable model file of a server; UpstreamUnavailable says how to get it."""
    path = place(server)
    if path is None:
        raise UpstreamUnavailable(f"{unknown(server)}; or {POINT_AT}")
    if not path.exists():
        if "path" in server.options:
            raise UpstreamUnavailable(f"there is no model file {path}; {POINT_AT}")
        raise UpstreamUnavailable(
            f"{server.model} is not on this machine yet: run h2o models pull"
            f"{'' if is_default(server) else ' ' + server.shown}, or {POINT_AT}"
        )
    what = problem(path, size=DEFAULT_SIZE if is_default(server) else None)
    if what is not None:
        raise UpstreamUnavailable(f"{path} {what}")
    return path


def problem(path: Path, size: int | None = None) -> str | None:
    """Why a file cannot be served, as the end of a sentence; None if nothing is seen."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        bytes_now = path.stat().st_size
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if head[:4] != MAGIC:
        return "is not a GGUF file"
    if len(head) < HEAD or (size is not None and bytes_now != size):
        return f"is cut short ({bytes_now} bytes): get it again"
    return None


def is_default(server: Server) -> bool:
    """Whether a server's model is the one that we know how to get by itself."""
    return server.model == DEFAULT_MODEL and not {"path", "hf"} & set(server.options)


def unknown(server: Server) -> str:
    """The sentence for a name that is not among the pulled models."""
    names = ", ".join(model.name for model in local_models()) or "none yet"
    return (
        f"no pulled model is named {server.model} (pulled: {names}); "
        "pull one with h2o models pull llama_cpp:hf:OWNER/REPO/FILE.gguf"
    )
