"""The keys that callers may present: the relay's own and h2oGPT's list, which may be a file.

The rules are h2oGPT's (commit a0ad1920, `gradio_runner.is_valid_key`, `openai_server/server.py`)
but for two: a list that is not enforced either way is enforced, and a file that breaks while the
relay runs leaves the keys as they were.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .accounting.caller import Caller
from .lock.source import UNREAD, literal
from .settings import SettingError, Settings, user_path

FLAG = "--h2ogpt_api_keys"
EXAMPLE = f"{FLAG}=\"['key1', 'key2']\" or {FLAG}=keys.json"
SIZE_LIMIT = 2**20  # characters
LOOK_AGAIN = 1.0  # seconds between looks at the file
ENV = "env"  # who presents the relay's own key
ID = 6  # bytes in the id of one who presents another
SHOWN = 4  # last characters, by which people tell keys apart
LONG = 16  # characters of a key that gives so much of itself away
NOBODY = Caller(id="")
log = logging.getLogger(__name__)


class ApiKeys:
    """Raises SettingError, in one line and without a key, for a list that cannot be read."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._secret = secrets.token_bytes(32)
        self._nobody = (secrets.token_bytes(64), NOBODY)
        self._version = 0
        self._clock = clock
        self._own = _words([settings.api_key] if settings.api_key else [])
        self._path, listed = _given(settings.h2ogpt_api_keys)
        self._stamp: tuple[int, ...] | None = None
        self._looked = clock()
        if self._path is not None:
            self._stamp = _stamp(self._path)
            listed = _file(self._path)
        self._set(listed)
        self._enforced = settings.enforce_h2ogpt_api_key
        self._page = bool(settings.enforce_h2ogpt_ui_key)

    @property
    def needed(self) -> bool:
        """Whether callers of the API present one, be it of the relay's store. An emptied file does
        not open it.
        """
        enforced = self._listed if self._enforced is None else self._enforced
        return bool(self._own) or enforced

    @property
    def needed_by_calls(self) -> bool:
        """Whether callers of h2oGPT's endpoints present one."""
        return self.needed if self._enforced is None else self._enforced

    @property
    def needed_by_page(self) -> bool:
        """Whether people who use the chat page present one."""
        return self._page

    def check(self, key: Any) -> bool:
        """Whether a key is one of them. In constant time; what is no text is none."""
        return self.find(key) is not None

    def find(self, key: Any) -> Caller | None:
        """Who presents a key: `env`, or `list-` and 12 digits that are the same as long as the
        secret is that of `use`. In constant time.
        """
        self._look()
        made = self._digest(key)
        digest, caller = self._known.get(made, self._nobody)
        return caller if hmac.compare_digest(digest, made) else None

    @property
    def version(self) -> int:
        """Another one whenever keys, or who presents them, have changed."""
        self._look()
        return self._version

    def ids(self) -> frozenset[str]:
        """Of all who present a key that is good now."""
        self._look()
        return frozenset(caller.id for _, caller in self._known.values())

    def use(self, secret: bytes) -> None:
        """Make ids with this secret, which the relay's store keeps, and not with one of this
        process: somebody's usage is to be found under one id, and the id is to tell nothing.
        """
        self._secret = secret
        self._set(self._list)

    def admits(self, key: Any) -> bool:
        """Whether a caller of h2oGPT's endpoints with this key is answered."""
        return not self.needed_by_calls or self.check(key)

    def current(self) -> frozenset[str]:
        """All keys as they are now."""
        self._look()
        return self._keys

    def _digest(self, key: Any) -> bytes:
        """What is compared: it tells nothing of the key, however long comparing takes."""
        return hashlib.blake2b(_bytes(key), key=self._secret).digest()

    def _set(self, listed: frozenset[str]) -> None:
        self._list, self._version = listed, self._version + 1
        self._listed = bool(listed) or self._path is not None
        self._keys = self._own | listed
        self._known = {made: (made, self._caller(key)) for key in self._keys
                       for made in (self._digest(key),)}  # fmt: skip

    def _caller(self, key: str) -> Caller:
        if key in self._own:
            return Caller(id=ENV)
        told = hashlib.blake2b(_bytes(key), key=self._secret, person=b"id", digest_size=ID)
        name = f"…{key[-SHOWN:]}" if len(key) >= LONG else ""
        return Caller(id=f"list-{told.hexdigest()}", name=name)

    def _look(self) -> None:
        """Read the file again if it has changed."""
        now = self._clock()
        if self._path is None or now - self._looked < LOOK_AGAIN:
            return
        self._looked = now
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._set(_file(self._path))
        except SettingError as error:
            log.warning("%s; the keys stay as they were", error)
        else:
            log.info("%s: %d keys, read again", FLAG, len(self._keys - self._own))


def enforced_of(settings: Settings) -> bool:
    """Whether callers of the API need a key of some list: h2oGPT's, or the relay's store. Raises
    SettingError.
    """
    told = settings.enforce_h2ogpt_api_key
    return is_listed(settings) if told is None else told


def is_listed(settings: Settings) -> bool:
    """Whether h2oGPT's list holds a key, or is a file, which may hold some. Raises SettingError."""
    path, listed = _given(settings.h2ogpt_api_keys)
    return path is not None or bool(listed)


def _given(text: str | None) -> tuple[Path | None, frozenset[str]]:
    """The file, or the keys of a list."""
    word = (text or "").strip()
    if not word:
        return None, frozenset()
    if word[0] not in "[(":
        return user_path(word), frozenset()
    value = literal(word) if len(word) <= SIZE_LIMIT else UNREAD
    return None, _words(value)


def _file(path: Path) -> frozenset[str]:
    """The keys of a JSON file. Raises SettingError."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise SettingError(f"{FLAG}: cannot read {path}: {reason}") from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise SettingError(f"{FLAG}: {path} is not JSON") from None
    return _words(value, f" in {path}")


def _words(value: Any, place: str = "") -> frozenset[str]:
    """Raises SettingError for what is not a list of keys."""
    keys: Iterable[Any] = value if isinstance(value, list | tuple) else [None]
    if not all(isinstance(key, str) and key.strip() for key in keys):
        raise SettingError(f"{FLAG}: not a list of texts{place}, for example: {EXAMPLE}")
    return frozenset(key.strip() for key in keys)


def _bytes(key: Any) -> bytes:
    return key.encode("utf-8", "surrogatepass") if isinstance(key, str) else b""


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when the file does; None while it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
