"""Secrets that are planted where secrets are, and the search for them where they must not be.

A canary is looked for as it is, in its last eight characters, URL-encoded, in base64 at any offset,
and hashed without a salt, in upper and lower case. Plant more with `Canaries.new`, and have more
places searched with `Canaries.seen`.
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

LAST = 8  # characters that are as good as the whole


def forms(text: str) -> Iterator[tuple[str, bytes]]:
    """What a canary may look like, by name."""
    data = text.encode()
    yield "plain", data
    yield "its end", data[-LAST:]
    yield "URL-encoded", quote(text, safe="").encode()
    for offset in range(3):
        coded = b64encode(b"\0" * offset + data).rstrip(b"=")
        start = (0, 2, 3)[offset]  # characters that depend on what stands before it
        yield f"base64 at {offset}", coded[start:-2]
    for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
        yield name, hashlib.new(name, data).hexdigest().encode()


@dataclass
class Canaries:
    """`words` by what they are; `places` with all that was seen there; `meant` are the beginnings
    of hits that are as they should be.
    """

    words: dict[str, str] = field(default_factory=dict)
    meant: tuple[str, ...] = ()
    places: list[tuple[str, bytes]] = field(default_factory=list)

    def new(self, name: str, odd: bool = False) -> str:
        """A word that is nowhere else; with `odd` one that has to be escaped in a URL."""
        word = secrets.token_hex(4) + ("/+ @" if odd else "-") + secrets.token_hex(12)
        self.words[name] = word
        return word

    def seen(self, place: str, data: bytes | str) -> None:
        self.places.append((place, data.encode() if isinstance(data, str) else bytes(data)))

    def folder(self, path: Path) -> None:
        """Every file below a folder."""
        for file in sorted(path.rglob("*")):
            if file.is_file():
                self.seen(str(file.relative_to(path)), file.read_bytes())

    def found(self, *, but: tuple[str, ...] = (), within: tuple[str, ...] = ()) -> list[str]:
        """Where canaries are, all but those named, in places whose names begin so."""
        hits = []
        for place, data in self.places:
            if within and not place.startswith(within):
                continue
            low = data.lower()
            for name, word in self.words.items():
                if name in but:
                    continue
                hits += [
                    f"{name} in {place}, {form}: {around(data, low, needle)!r}"
                    for form, needle in forms(word)
                    if needle.lower() in low
                ]
        return [hit for hit in hits if not (self.meant and hit.startswith(self.meant))]


def around(data: bytes, low: bytes, needle: bytes) -> bytes:
    at = low.index(needle.lower())
    return data[max(0, at - 80) : at + len(needle) + 20]
