"""Images that a user sends: files that the page has taken in become `data:` URLs.

What a file is, its first bytes say, never its name.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from h2o_relay.errors import InvalidRequest

LARGEST = 5 * 2**20  # bytes of one image
MOST = 4  # images in a message
KINDS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
RIFF, WEBP = b"RIFF", b"WEBP"


def read(paths: Sequence[str]) -> list[str]:
    """The images' `data:` URLs. Blocks. Raises InvalidRequest with a line for their sender."""
    if len(paths) > MOST:
        raise InvalidRequest(f"A message takes {MOST} images at most; these are {len(paths)}.")
    return [_read(Path(path)) for path in paths]


def forget(paths: Iterable[str]) -> None:
    """Delete files that were read: they are in the conversation now. Blocks."""
    for path in paths:
        with contextlib.suppress(OSError):
            Path(path).unlink()


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError:
        raise InvalidRequest(f"{path.name} is not there any more. Add it again.") from None
    if len(data) > LARGEST:
        raise InvalidRequest(f"{path.name} has more than {LARGEST // 2**20} MB.")
    kind = kind_of(data)
    if kind is None:
        raise InvalidRequest(f"{path.name} is no PNG, JPEG, GIF or WebP image.")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def kind_of(data: bytes) -> str | None:
    """The media type of an image; None for what is none that models take."""
    if data[:4] == RIFF and data[8:12] == WEBP:
        return "image/webp"
    return next((kind for start, kind in KINDS if data.startswith(start)), None)
