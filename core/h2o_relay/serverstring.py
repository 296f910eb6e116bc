"""Helpers for reading server strings, for plugins and for the core's own bare URLs.

The grammar is h2oGPT's: a prefix and fields with colons between (`vllm:host:port:path:key`), a
field that is empty or the word `None` left out, white space around a field ignored; or a URL,
alone, with four spaces and credentials after it, or with `:user:password`. IPv6 addresses stand in
brackets. Nothing here touches the network. Every refusal masks what may be secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import unquote

from .errors import BadServerString
from .types import Server

GAP = "    "  # h2oGPT's separator between a URL and its credentials
LONGEST = 4096  # characters of a server string
REFUSED = 200  # characters of one that a refusal shows
FIELD = re.compile(r"(?:\[[^\]]*\]|[^:])*")
LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST = re.compile(rf"(?=.{{1,253}}$){LABEL}(?:\.{LABEL})*\.?$")
PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=@%/-]*$")
PUBLIC = re.compile(r"\d*(/.*)?$")  # a port, a path, or both
PORT_AND_PATH = re.compile(r"(\d+)(/.*)?$")


@dataclass(frozen=True, slots=True)
class Field:
    """A field's stripped text, and where it starts in the string (0-based)."""

    text: str
    start: int

    @property
    def given(self) -> bool:
        return self.text not in ("", "None")

    @property
    def is_number(self) -> bool:
        """It can be meant as a port, and not as a key."""
        return self.text.isdigit() and len(self.text) < 7


def fields_of(text: str, start: int) -> list[Field]:
    """The fields of `text` from `start` on; colons in brackets do not separate."""
    found, at = [], start
    while True:
        match = FIELD.match(text, at)
        assert match is not None
        raw = match.group()
        found.append(Field(raw.strip(), at + len(raw) - len(raw.lstrip())))
        at = match.end() + 1
        if match.end() >= len(text):
            return found


class Reader:
    """Reads one string's fields in order, and refuses with column and example."""

    def __init__(self, text: str, prefix: str, example: str, secret_from: int = 3) -> None:
        """Fields from `secret_from` on (0-based) may hold a key; refusals do not show them."""
        self.text, self.prefix, self.example = text, prefix, example
        self.secret_from = secret_from
        self.fields = fields_of(text, text.index(":") + 1) if ":" in text else []
        self.at = 0
        self.took_port = False
        self.secrets: list[Field] = []

    def refuse(self, reason: str, field: Field | None = None) -> BadServerString:
        """The error to raise; `field` is the one at fault, default the next one."""
        maybe = [f for f in self.fields[self.secret_from :] if f != field or not f.is_number]
        secrets = {*self.secrets, *maybe}
        start = field.start if field else self._start_of_next()
        before = mask(self.text[:start], (f for f in secrets if f.start < start), REFUSED)
        return BadServerString(
            reason, shown=mask(self.text, secrets, REFUSED), column=len(before) + 1,
            example=self.example,
        )  # fmt: skip

    def _start_of_next(self) -> int:
        left = self.fields[self.at :]
        return left[0].start if left else len(self.text)

    def next(self) -> Field | None:
        """The next field, if there is one."""
        if self.at >= len(self.fields):
            return None
        self.at += 1
        return self.fields[self.at - 1]

    def optional(self) -> str | None:
        """The next field's text; None if it is missing, empty or `None`."""
        field = self.next()
        if field is None or not field.given:
            return None
        if "@" in field.text:  # what stands before it is masked as a password would be
            self.secrets.append(field)
            raise self.refuse("a name has no @ in it", field)
        return field.text

    def secret(self) -> str | None:
        """The same, for a field that must not be shown."""
        field = self.next()
        if field is None or not field.given:
            return None
        self.secrets.append(field)
        if not field.text.isascii():
            raise self.refuse("a key is ASCII, for it goes in a header", field)
        return field.text

    def skip(self, reason: str) -> None:
        """Pass over a field that must be missing, empty or `None`."""
        field = self.next()
        if field is not None and field.given:
            self.secrets.append(field)  # what does not belong here may be a key
            raise self.refuse(reason, field)

    def end(self) -> None:
        """Refuse fields that are left."""
        if self.at < len(self.fields):
            raise self.refuse("there are more fields than this form has")

    @property
    def shown(self) -> str:
        return mask(self.text, self.secrets)

    def url(self, default_scheme: str) -> str | None:
        """Host with optional scheme, port and path, over as many fields as that takes.

        None if the field is missing, empty or `None`.
        """
        first = self.next()
        if first is None or not first.given:
            return None
        scheme, host = default_scheme, first
        if first.text in ("http", "https") and self._peek().startswith("//"):
            scheme, slashed = first.text, self.next()
            assert slashed is not None
            host = Field(slashed.text[2:], slashed.start + 2)
        elif self._peek().startswith("//"):
            raise self.refuse("only http and https are spoken", first)
        if "/" in host.text:
            name, _, path = host.text.partition("/")
            return self._checked(scheme, Field(name, host.start), None, "/" + path)
        port, path = self._port()
        return self._checked(scheme, host, port, path)

    def _peek(self) -> str:
        return self.fields[self.at].text if self.at < len(self.fields) else ""

    def _port(self) -> tuple[str | None, str]:
        """The next field if it is a port, maybe with a path glued to it."""
        match = PORT_AND_PATH.match(self._peek())
        if match is None:
            return None, ""
        field = self.next()
        assert field is not None
        self.took_port = True
        port = int(match[1]) if len(match[1]) < 6 else 0
        if not 1 <= port <= 65535:
            if not field.is_number:
                self.secrets.append(field)  # it may be a key or a password
            raise self.refuse("a port is a number from 1 to 65535", field)
        return str(port), match[2] or ""

    def _checked(self, scheme: str, host: Field, port: str | None, path: str) -> str:
        name = self.host(host)
        if path and not PATH.match(path):
            raise self.refuse("the path has characters that a path cannot have", host)
        return f"{scheme}://{name}" + (f":{port}" if port else "") + path

    def host(self, field: Field) -> str:
        """A host name or address in the form that is dialled: ASCII, brackets around IPv6."""
        text = field.text
        if text.startswith("["):
            if not is_ipv6(text):
                raise self.refuse("an IPv6 address is written [::1], without a zone", field)
            return text
        try:
            name = text if text.isascii() else text.encode("idna").decode()
        except UnicodeError:
            name = ""
        if not HOST.match(name):
            raise self.refuse("a host name or address is missing or not valid", field)
        return name


def is_ipv6(text: str) -> bool:
    """Whether it is an IPv6 address in brackets, without a zone."""
    try:
        return text.endswith("]") and IPv6Address(text[1:-1]).scope_id is None
    except ValueError:
        return False


def host_fields(text: str, prefix: str, example: str) -> tuple[Reader, str, str | None]:
    """`prefix:HOST[:PORT[:PATH[:KEY]]]` as h2oGPT reads it for vLLM: reader, base URL, key.

    Without a scheme http:// and /v1 are added; with one the URL is taken as it stands.
    """
    reader = Reader(text, prefix, example, secret_from=2)
    schemed = bool(reader.fields) and reader.fields[0].text in ("http", "https")
    url = reader.url("http")
    if url is None:
        raise reader.refuse("a host is missing", reader.fields[0] if reader.fields else None)
    left = reader.fields[reader.at :]
    # `http://host:8000/v1:KEY`: what alone follows a URL with a path is its key.
    key_alone = len(left) == 1 and "/" in url.partition("://")[2] and left[0].text[:1] != "/"
    if not key_alone:
        url = _with_path(reader, url)
    key = reader.secret()
    reader.end()
    if not schemed:
        url = url.rstrip("/")
        url = url if url.endswith("/v1") else f"{url}/v1"
    return reader, url, key


def _with_path(reader: Reader, url: str) -> str:
    """The URL with the path field, after a port field that says nothing if none was read."""
    if not reader.took_port:
        reader.skip("a port is a number from 1 to 65535")
    path = reader.optional()
    if path is None:
        return url
    path = f"/{path}" if path in ("v1", "v1/") else path
    if not PATH.match(path):
        reason = "the third field is a path such as /v1, and a key is the fourth"
        raise reader.refuse(reason, reader.fields[reader.at - 1])
    return url.rstrip("/") + path


def parse_bare(text: str) -> Server:
    """A bare http(s) URL with its credentials, if any; whose it is gets known later.

    `URL`, `URL    SCHEME    CREDENTIAL` (an Authorization header), `host:port:user:password`,
    `host:user:password`, `user:password@host:port`.
    """
    example = "http://192.168.1.46:6112"
    url, *credentials = text.split(GAP)
    scheme, _, rest = url.partition("://")
    reader = Reader(url, scheme, example, secret_from=1)
    reader.fields = fields_of(url, len(scheme) + 3)
    if scheme not in ("http", "https") or not rest:
        raise reader.refuse("a URL begins with http:// or https:// and names a host")
    bad = next((i for i, c in enumerate(url) if c.isspace() or c in "\\#?"), None)
    if bad is not None:
        reader.secrets.append(Field(url[bad:], bad))
        raise reader.refuse(
            "a URL has no spaces, backslashes, queries or fragments", Field("", bad)
        )
    if credentials and len(credentials) != 2:
        reader.example = f"https://host{GAP}Bearer{GAP}TOKEN"
        raise reader.refuse(
            "credentials are two words, each after exactly four spaces", Field("", len(url))
        )
    user, password = _userinfo(reader)
    base = _bare_url(reader, scheme)
    if len(reader.fields) - reader.at == 2 and user is None:
        named, word = reader.next(), reader.next()
        assert named is not None
        assert word is not None
        reader.secrets += [named, word]
        if named.given or word.given:
            user, password = named.text, word.text
    reader.end()
    if credentials:
        kind, credential = credentials
        return Server(
            plugin=None, url=base, user=kind, headers={"authorization": f"{kind} {credential}"},
            shown=f"{reader.shown}{GAP}{kind}{GAP}***",
        )  # fmt: skip
    return Server(plugin=None, url=base, user=user, password=password, shown=reader.shown)


def _userinfo(reader: Reader) -> tuple[str | None, str | None]:
    """Take `user:password@` off the front of the fields."""
    text, start = reader.text, reader.fields[0].start
    authority = re.split("/", text[start:], maxsplit=1)[0]
    if "@" not in authority:
        return None, None
    info, _, _ = authority.rpartition("@")
    if re.match(r"[^:]*:(\d+|None):[^:]*:", info):
        return None, None  # `host:port:user:p@ss`
    user, _, password = info.partition(":")
    reader.secrets.append(Field(info, start))
    reader.fields = fields_of(text, start + len(info) + 1)
    return unquote(user), unquote(password)


def _bare_url(reader: Reader, scheme: str) -> str:
    first = reader.next()
    if first is None or not first.given:
        raise reader.refuse("a host is missing", first)
    name, slash, path = first.text.partition("/")
    port: str | None = None
    if not slash:
        if reader._peek() == "None":
            reader.next()
        elif reader._peek() == "" and reader.at < len(reader.fields):
            raise reader.refuse("a port is missing after the colon")
        else:
            left = len(reader.fields) - reader.at
            port, path = reader._port()
            if port is None and left not in (0, 2):
                raise reader.refuse("a port is a number from 1 to 65535")
    elif reader.at < len(reader.fields):
        raise reader.refuse("a port stands before the path")
    path = path if path.startswith("/") or not (slash or path) else f"/{path}"
    return reader._checked(scheme, Field(name, first.start), port, path)


def mask(text: str, secrets: Iterable[Field], most: int = LONGEST) -> str:
    """The string with each secret field replaced, escaped for one line and cut after `most`
    characters. One that is not cut is read again as the same server, but for its secrets.
    """
    for field in sorted(secrets, key=lambda f: -f.start):
        if field.given:
            text = text[: field.start] + "***" + text[field.start + len(field.text) :]
    text = re.sub(r"(^\s*\w+:|//)[^/\s]*@", r"\1***@", text)
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:most])
    return shown + ("…" if len(text) > most else "")


def check_text(text: str) -> None:
    """Refuse what no server string is: nothing, control characters, something endless."""
    if not text.strip():
        raise BadServerString("it is empty", shown=text[:20], column=1, example="vllm:host:8000")
    if len(text) > LONGEST:
        shown = mask(text.split(":", 1)[0], (), REFUSED) + (":***" if ":" in text else "")
        raise BadServerString(f"it is longer than {LONGEST} characters", shown=shown)
    bad = next((i for i, c in enumerate(text) if not c.isprintable()), None)
    if bad is not None:
        reason = "it contains a character that cannot be printed"
        shown = mask(text.split(":", 1)[0][:bad], (), REFUSED) + ":***"
        raise BadServerString(reason, shown=shown, column=bad + 1)
