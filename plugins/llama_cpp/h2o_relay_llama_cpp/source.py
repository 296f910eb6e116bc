"""Which model a server string names.

    llama_cpp                           the default model
    llama_cpp:NAME                      a pulled model, by name
    llama_cpp:/path/to/model.gguf       a file (also ~/model.gguf, ./model.gguf, model.gguf)
    llama_cpp:hf:OWNER/REPO/FILE.gguf   a file of a repository on Hugging Face's hub

`Server.model` is the public name. `Server.options` holds `path` or `hf` for the last two forms; to
them come the engine's options (see `engine.Options`).
"""

from __future__ import annotations

import re

from h2o_relay.errors import BadServerString
from h2o_relay.types import Server

PREFIX = "llama_cpp"
EXAMPLE = "llama_cpp:/path/to/model.gguf"
HUB_EXAMPLE = "llama_cpp:hf:owner/repository/model.gguf"
HUB = "hf:"
DEFAULT_MODEL = "SmolLM2-135M-Instruct"
SUFFIX = ".gguf"

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._+-]+")
FIRST_PART = re.compile(r"-00001-of-\d{5}$")


def parse(text: str) -> Server | None:
    """The server that `text` names; None if it is not for llama.cpp, BadServerString if wrong.

    Pure: whether the model is on this machine is seen when the server is opened.
    """
    prefix, colon, rest = text.partition(":")
    if prefix.strip() != PREFIX:
        return None
    if not colon:
        return _server(text, DEFAULT_MODEL)
    what = rest.strip()
    start = text.index(":") + 1 + len(rest) - len(rest.lstrip())
    if not what:
        raise _refusal(text, "a model's name or a file's path is missing", start)
    for at, character in enumerate(what):
        if not character.isprintable():
            raise _refusal(text, "it holds a character that cannot be shown", start + at)
    if what.startswith(HUB):
        return _hub(text, what.removeprefix(HUB), start + len(HUB))
    if "/" in what or what[0] in "~." or what.endswith(SUFFIX):
        if what.endswith(("/", "/.", "/..")) or what in ("~", ".", ".."):
            raise _refusal(text, "that is a folder, not a model file", start)
        return _server(text, model_name(what), path=what)
    match = NAME.match(what)
    end = match.end() if match else 0
    if end < len(what):
        reason = "a model's name has letters, digits and - . _ + only"
        raise _refusal(text, reason, start + end)
    return _server(text, what)


def model_name(file: str) -> str:
    """A model file's public name: without folders, `.gguf` and the number of a first part."""
    return FIRST_PART.sub("", file.rsplit("/", 1)[-1].removesuffix(SUFFIX))


def _hub(text: str, place: str, start: int) -> Server:
    segments = place.split("/")
    at = start
    for segment in segments:
        if not SEGMENT.fullmatch(segment):
            reason = "owner, repository and file have letters, digits and - . _ + only"
            raise _refusal(text, reason, at, HUB_EXAMPLE)
        at += len(segment) + 1
    if len(segments) < 3:
        reason = "owner, repository and file are needed, with / between"
        raise _refusal(text, reason, at - 1, HUB_EXAMPLE)
    if not place.endswith(SUFFIX):
        raise _refusal(text, "the file must end in .gguf", at - 1, HUB_EXAMPLE)
    return _server(text, model_name(place), hf=place)


def _server(text: str, model: str, **options: str) -> Server:
    return Server(plugin=PREFIX, api="chat", model=model, options=options, shown=text.strip())


def _refusal(text: str, reason: str, at: int, example: str = EXAMPLE) -> BadServerString:
    """`at` counts from 0."""
    shown = "".join(c if c.isprintable() else "�" for c in text)
    return BadServerString(reason, shown=shown, column=at + 1, example=example)
