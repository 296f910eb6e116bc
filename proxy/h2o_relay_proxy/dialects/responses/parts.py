"""Parts of messages: the Responses API's as chat completions', both as OpenAI's API reference has
them ("Create a model response", "Create chat completion").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from h2o_relay.errors import InvalidRequest

from ...checking import missing, one_of, wrong_type
from ...fields import media_url
from .unread import Unread

Part = dict[str, Any]
Reader = Callable[[str, Part, Unread], Part]
DETAIL = one_of("auto", "low", "high", "original")
ECHOED = frozenset({"type", "text", "refusal", "annotations", "logprobs"})
"""Fields of a part of an earlier answer. Its annotations and logprobs tell of that answer alone."""


def not_here(path: str, why: str) -> InvalidRequest:
    """For what the API has and this relay has not."""
    return InvalidRequest(f"'{path}': {why}", param=path, code="unsupported_parameter")


def unknown(path: str, wanted: Mapping[str, Any]) -> InvalidRequest:
    words = ", ".join(map(repr, wanted))
    return InvalidRequest(f"'{path}' must be one of {words}.", param=path)


def text_field(path: str, given: Mapping[str, Any], name: str) -> str:
    """A field that must be there and be a string."""
    value = given.get(name)
    if value is None:
        raise missing(f"{path}.{name}")
    if type(value) is not str:
        raise wrong_type(f"{path}.{name}", "a string")
    return value


def optional_text(path: str, given: Mapping[str, Any], name: str) -> str | None:
    return None if given.get(name) is None else text_field(path, given, name)


def _text(path: str, part: Part, unread: Unread) -> Part:
    unread.rest(path, part, ("type", "text"))
    return {"type": "text", "text": text_field(path, part, "text")}


def _image(path: str, part: Part, unread: Unread) -> Part:
    unread.rest(path, part, ("type", "image_url", "detail", "file_id"))
    if part.get("file_id") is not None:
        raise not_here(f"{path}.file_id", "files are not kept here; send the image as a data URL.")
    url = text_field(path, part, "image_url")
    media_url(f"{path}.image_url", url)
    image = {"url": url}
    if part.get("detail") is not None:
        DETAIL(f"{path}.detail", part["detail"])
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _file(path: str, part: Part, unread: Unread) -> Part:
    """The same field names below `file`; chat completions take no URL of a file."""
    unread.rest(path, part, ("type", "file_data", "filename", "file_id", "file_url"))
    if part.get("file_url") is not None:
        raise not_here(f"{path}.file_url", "files are not fetched here; send it as file_data.")
    names = ("file_id", "filename", "file_data")
    file = {name: optional_text(path, part, name) for name in names}
    if file["file_id"] is None and file["file_data"] is None:
        raise missing(f"{path}.file_data")
    return {"type": "file", "file": {k: v for k, v in file.items() if v is not None}}


def _audio(path: str, part: Part, unread: Unread) -> Part:
    unread.rest(path, part, ("type", "input_audio"))
    audio = part.get("input_audio")
    if audio is None:
        raise missing(f"{path}.input_audio")
    if type(audio) is not dict:
        raise wrong_type(f"{path}.input_audio", "an object")
    inside = f"{path}.input_audio"
    text_field(inside, audio, "data")
    text_field(inside, audio, "format")
    return {"type": "input_audio", "input_audio": audio}


def _said(path: str, part: Part, unread: Unread) -> Part:
    unread.rest(path, part, ECHOED)
    return {"type": "text", "text": text_field(path, part, "text")}


def _refusal(path: str, part: Part, unread: Unread) -> Part:
    unread.rest(path, part, ECHOED)
    return {"type": "refusal", "refusal": text_field(path, part, "refusal")}


GIVEN: Mapping[str, Reader] = {
    "input_text": _text,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}
SPOKEN: Mapping[str, Reader] = {"output_text": _said, "refusal": _refusal}


def content_of(
    path: str, content: Any, readers: Mapping[str, Reader], unread: Unread
) -> str | list[Part]:
    """A message's content as chat completions have it; one text alone becomes a string, which
    more servers and chat templates take. Raises InvalidRequest.
    """
    if content is None:
        raise missing(path)
    if type(content) is str:
        return content
    if type(content) is not list:
        raise wrong_type(path, "a string or an array")
    parts = [_part(f"{path}[{n}]", part, readers, unread) for n, part in enumerate(content)]
    if not parts:
        return ""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _part(path: str, part: Any, readers: Mapping[str, Reader], unread: Unread) -> Part:
    if type(part) is not dict:
        raise wrong_type(path, "an object")
    kind = part.get("type")
    if kind is None:
        raise missing(f"{path}.type")
    if type(kind) is not str:
        raise wrong_type(f"{path}.type", "a string")
    reader = readers.get(kind)
    if reader is None:
        raise unknown(f"{path}.type", readers)
    return reader(path, part, unread)
