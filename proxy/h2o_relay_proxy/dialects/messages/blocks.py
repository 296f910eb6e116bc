"""Content blocks as parts of a chat's message: texts, images, documents, search results.

Blocks are those of Anthropic's API reference (`ContentBlockParam`), parts those of OpenAI's
(`ChatCompletionContentPart`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from h2o_relay.errors import InvalidRequest

from ...checking import one_of
from ...fields import media_url
from .report import Report, a_text, a_type, an_array, an_object, needed, optional_text

Part = dict[str, Any]
Located = tuple[str, dict[str, Any]]
"""Where a block stands in the request, as `messages[0].content[1]`, and the block."""
PLACE = "messages.content"
"""How what is dropped of a block is reported."""
IMAGE_TYPES = one_of("image/jpeg", "image/png", "image/gif", "image/webp")
PDF = "application/pdf"
SOURCE = ("type", "media_type", "data", "url", "content")
PARTS = frozenset({"text", "image", "document", "search_result"})


def blocks(path: str, content: Any) -> list[Located]:
    """A content's blocks; a string is one text block. Raises InvalidRequest."""
    if type(content) is str:
        return [(path, {"type": "text", "text": content})]
    if type(content) is not list:
        raise InvalidRequest(
            f"'{path}' must be a string or an array.", param=path, code="invalid_type"
        )
    places = [f"{path}[{number}]" for number in range(len(content))]
    return [(place, an_object(place, block)) for place, block in zip(places, content, strict=True)]


def parts_of(path: str, block: dict[str, Any], report: Report) -> list[Part]:
    """A block as parts. Raises InvalidRequest for what no chat can be told."""
    kind = a_type(path, block, PARTS)
    if kind == "text":
        return [_text(text_of(path, block, report))]
    if kind == "image":
        return [_image(path, block, report)]
    if kind == "document":
        return _document(path, block, report)
    return [_text(_search_result(path, block, report))]


def text_of(path: str, block: dict[str, Any], report: Report, place: str = PLACE) -> str:
    """A text block's text."""
    report.rest(place, block, ("type", "text"))
    return a_text(path, block, "text")


def texts(path: str, content: Any, report: Report, place: str) -> list[str]:
    """A content that can only be text."""
    found = []
    for where, block in blocks(path, content):
        a_type(where, block, {"text"})
        found.append(text_of(where, block, report, place))
    return found


def joined(parts: list[Part]) -> str | list[Part]:
    """The content of a chat's message: a plain text where there is but one, which every server
    takes.
    """
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts or ""


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _source(
    path: str, block: dict[str, Any], kinds: Collection[str], report: Report
) -> tuple[str, dict[str, Any]]:
    """Where a block's content comes from: its type, and the object that says it."""
    source = an_object(f"{path}.source", needed(path, block, "source"))
    report.rest(f"{PLACE}.source", source, SOURCE)
    return a_type(f"{path}.source", source, kinds), source


def _image(path: str, block: dict[str, Any], report: Report) -> Part:
    """An image as a data URL or as the caller's own URL, which the relay does not open."""
    report.rest(PLACE, block, ("type", "source"))
    kind, source = _source(path, block, ("base64", "url", "file"), report)
    path = f"{path}.source"
    if kind == "file":
        raise _no_files(path)
    if kind == "url":
        media_url(f"{path}.url", needed(path, source, "url"))
        return {"type": "image_url", "image_url": {"url": source["url"]}}
    media = a_text(path, source, "media_type")
    IMAGE_TYPES(f"{path}.media_type", media)
    data = a_text(path, source, "data", empty=False)
    return {"type": "image_url", "image_url": {"url": f"data:{media};base64,{data}"}}


def _document(path: str, block: dict[str, Any], report: Report) -> list[Part]:
    """A document: its title and context, then what it says. A PDF goes on as a file."""
    report.rest(PLACE, block, ("type", "source", "title", "context", "citations"))
    _cited(path, block, report)
    title, context = (optional_text(path, block, name) for name in ("title", "context"))
    kind, source = _source(path, block, ("text", "base64", "content", "url", "file"), report)
    path = f"{path}.source"
    head = "\n".join(filter(None, (title, context)))
    if kind == "text":
        one_of("text/plain")(f"{path}.media_type", needed(path, source, "media_type"))
        return [_text("\n".join(filter(None, (head, a_text(path, source, "data")))))]
    if kind == "base64":
        return [*([_text(head)] if head else []), _pdf(path, source, title)]
    if kind == "content":
        return [*([_text(head)] if head else []), *_inside(path, source, report)]
    if kind == "file":
        raise _no_files(path)
    raise InvalidRequest(
        f"'{path}.type' cannot be 'url': the relay opens no documents. Send a PDF as base64.",
        param=f"{path}.type",
    )


def _pdf(path: str, source: dict[str, Any], title: str) -> Part:
    one_of(PDF)(f"{path}.media_type", needed(path, source, "media_type"))
    data = f"data:{PDF};base64,{a_text(path, source, 'data', empty=False)}"
    return {"type": "file", "file": {"filename": title or "document.pdf", "file_data": data}}


def _inside(path: str, source: dict[str, Any], report: Report) -> list[Part]:
    """A document that consists of blocks."""
    found = []
    for where, block in blocks(f"{path}.content", needed(path, source, "content")):
        a_type(where, block, ("text", "image"))
        found += parts_of(where, block, report)
    return found


def _search_result(path: str, block: dict[str, Any], report: Report) -> str:
    """What was found, where, and what it says."""
    report.rest(PLACE, block, ("type", "source", "title", "content", "citations"))
    _cited(path, block, report)
    title, source = a_text(path, block, "title"), a_text(path, block, "source")
    said = an_array(f"{path}.content", needed(path, block, "content"))
    return "\n".join([title, source, *texts(f"{path}.content", said, report, PLACE)])


def _cited(path: str, block: dict[str, Any], report: Report) -> None:
    """No chat says of a sentence where it is from."""
    citations = block.get("citations")
    if citations is not None and an_object(f"{path}.citations", citations).get("enabled"):
        report.drop(f"{PLACE}.citations")


def _no_files(path: str) -> InvalidRequest:
    return InvalidRequest(
        f"'{path}.type' cannot be 'file': the relay keeps no files. Send the content itself.",
        param=f"{path}.type",
    )
