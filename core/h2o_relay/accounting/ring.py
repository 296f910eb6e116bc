"""`KeyRing`: from what a request presents to who it is from.

All of it is in memory. A key is looked up by its digest, one access to a dictionary whose keys
nobody outside can choose or foresee, and then compared in constant time; every place where a key
may be known is looked at, whatever the others say. The store is read beside the requests.

The rules are h2oGPT's (`api_keys.py`), and: once the store has or had a key, a key is needed. While
it is not known whether a key is one, the answer is neither yes nor no (503).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Final, Self

from ..api_keys import ApiKeys
from ..errors import Overloaded, RelayError, Unauthorized
from ..settings import Settings
from .caller import OPEN, PAGE, Caller
from .credentials import credentials
from .keys import KeySource, Snapshot
from .proof import STRANGER, Proof
from .secret import digester

REFRESH = 2.0  # seconds between looks at the store's revision
FLUSH = 60.0  # seconds between notes of when keys were presented
LAST = 5.0  # seconds that the last note may take
ADMIN: Final = Caller(id="admin", name="ADMIN_PASS", admin=True)
MISSING = "No API key was given. Send it as 'Authorization: Bearer KEY'."
WRONG = "The API key is not correct."
NOT_ADMIN = (
    "This needs the admin key: set ADMIN_PASS where the relay is started, and send it as a bearer "
    "token."
)
UNDECIDED = "Whether this key is good cannot be told now: the relay's store cannot be read."
REPLACED = "an empty store has taken the place of the one that had them"
Headers = Iterable[tuple[bytes, bytes]]
Entry = tuple[bytes, float, Caller]
"""A digest, the Unix time until when it is good, and who presents it."""
log = logging.getLogger(__name__)


class KeyRing:
    """Enter it on the loop that serves; it reads `source` until it is left."""

    trouble: str | None = None
    """Why the store cannot be read, while it cannot."""

    def __init__(
        self, settings: Settings, source: KeySource | None = None, *, internal: str | None = None,
        clock: Callable[[], float] = time.time, shut: bool = False,
    ) -> None:  # fmt: skip
        """`internal` is the chat page's key; a `shut` ring lets in no other. Without `source` there
        are only the keys of the settings. Raises SettingError for a list that cannot be read.
        """
        self._shut = shut
        self._keys = ApiKeys(settings)
        self._source = source
        self._clock = clock
        self._internal = (internal or "").encode()
        self._admin_pass = (settings.admin_pass or "").encode("utf-8", "surrogatepass")
        self._closed = settings.auth_access == "closed"
        self._lax = settings.enforce_h2ogpt_api_key is False
        self._secret = secrets.token_bytes(32)
        self._digest = digester(self._secret)
        self._entries: dict[bytes, Entry] = {}
        self._nobody: Entry = (secrets.token_bytes(32), 0.0, OPEN)
        self._read_once = False
        self._seen: int | None = None  # the revision that is here
        self._any = False  # the store has or had a key
        self._version = 0  # of what was read of the store
        self._ids: dict[str, Entry] = {}  # of keys that are not revoked
        self._listed = self._keys.ids()
        self._used: dict[str, float] = {}
        self._callbacks: list[Callable[[str], None]] = []
        self._turn = asyncio.Lock()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep(), name="keys")
        return self

    async def __aexit__(self, *_: object) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.flush(), LAST)

    # Requests.

    @property
    def needed(self) -> bool:
        """Whether callers present a key, as far as is known."""
        told = self._keys.needed or self._closed or self._shut
        return told or (self._any and not self._lax)

    @property
    def unread(self) -> bool:
        """The store has not been read yet."""
        return self._source is not None and not self._read_once

    def find(self, headers: Headers) -> Caller:
        """Who presents these: every key that is there must be good, and the first says who it is.

        Names of headers are in lower case. Raises Unauthorized, and Overloaded (503,
        `auth_unavailable`) where it cannot be decided.
        """
        return self._find(credentials(headers)).caller

    def find_again(self, headers: Headers, last: Proof | None) -> Proof:
        """`find` for a connection; `last` is what came of its request before this one. What it
        presents once more is not looked up again while nothing has changed: it is compared with its
        own words alone, which tells it nothing.
        """
        presented = credentials(headers)
        if last is not None and last.is_of(presented) and self.holds(last):
            return last
        return self._find(presented)

    def holds(self, proof: Proof) -> bool:
        """Whether what was presented would prove the same again, which counts as presenting it."""
        now = self._clock()
        if proof.version != (self._version, self._keys.version) or now >= proof.until:
            return False
        if proof.caller.id in self._ids:
            self._used[proof.caller.id] = now
        return True

    def _find(self, presented: list[bytes]) -> Proof:
        if any(presented):
            found = [self._who(one) for one in presented]
            if None not in found and found[0] is not None:
                until = min(one[1] for one in found if one is not None)
                version = self._version, self._keys.version
                return Proof(b"\n".join(presented), version, until, found[0][2])
        if self.needed:
            raise self._unknown(given=any(presented))
        if self._undecided:
            raise _unavailable()
        return STRANGER

    def _unknown(self, *, given: bool) -> RelayError:
        """Why a request is refused whose key, if it has `given` one, is not known."""
        if given:
            return _unavailable() if self._undecided else Unauthorized(WRONG)
        return Unauthorized(MISSING, code="missing_api_key")

    def find_admin(self, headers: Headers) -> Caller:
        """The same for /admin: ADMIN_PASS, the chat page's key, and the store's admin keys."""
        presented = credentials(headers)
        found = [self._who_administers(one) for one in presented]
        if any(presented) and None not in found and found[0] is not None:
            return found[0]
        unknown = any(presented) and self._undecided
        raise _unavailable() if unknown else Unauthorized(NOT_ADMIN)

    def find_call(self, key: str) -> Caller:
        """Who presents a key ("" for none) to h2oGPT's calls on the chat page: of those,
        `--enforce_h2ogpt_api_key` alone says whether they need one. Raises as `find` does.
        """
        stored = self._of_store(key.encode("utf-8", "surrogatepass"))
        found = self._keys.find(key) or (stored and stored[2])
        if found is None and self._undecided:
            raise _unavailable()
        needed = self._keys.needed_by_calls or (self._any and not self._lax)
        if found is None and needed:
            raise Unauthorized(WRONG)
        return found or OPEN

    def find_holder(self, id: str) -> Caller:
        """Who signed in to the chat page with the store's key of this id. Raises as `find` does."""
        _, until, caller = self._ids.get(id, self._nobody)
        if self._clock() >= until:
            raise _unavailable() if self._undecided else Unauthorized(WRONG)
        return caller

    @property
    def _undecided(self) -> bool:
        return self.unread and not self._lax

    def _who(self, key: bytes) -> Entry | None:
        inside = self._is(key, self._internal)
        listed = self._keys.find(key.decode("utf-8", "surrogateescape"))
        stored = self._of_store(key)
        if inside or self._shut:
            return (b"", math.inf, PAGE) if inside else None
        return stored if listed is None else (b"", math.inf, listed)

    def _who_administers(self, key: bytes) -> Caller | None:
        inside, master = self._is(key, self._internal), self._is(key, self._admin_pass)
        stored = self._of_store(key)
        if inside or self._shut:
            return PAGE if inside else None
        if master:
            return ADMIN
        return stored[2] if stored is not None and stored[2].admin else None

    def _is(self, key: bytes, known: bytes) -> bool:
        return hmac.compare_digest(key, known) and bool(known)

    def _of_store(self, key: bytes) -> Entry | None:
        """Revoked keys are not there; expired ones take as long as any."""
        now = self._clock()
        made = self._digest(key)
        entry = known, until, caller = self._entries.get(made, self._nobody)
        good = hmac.compare_digest(known, made) & (now < until)
        if good:
            self._used[caller.id] = now
        return entry if good else None

    # The store.

    def on_revoked(self, callback: Callable[[str], None]) -> None:
        """Have `callback` told the id of each key that was revoked, or taken out of h2oGPT's file,
        for what it began to be ended. It is called on the loop and may not block.
        """
        self._callbacks.append(callback)

    def begin_empty(self) -> None:
        """The store has no key, as far as it could be told at the start: nobody waits until it is
        read.
        """
        self._read_once = True

    async def settled(self, seconds: float) -> None:
        """Wait until the store was tried to be read, at most so long: for requests that come while
        the relay starts.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), seconds)

    async def refresh(self) -> None:
        """See what has changed, now. Never raises; `trouble` says what is wrong."""
        async with self._turn:
            if self._source is not None:
                await self._read(self._source)
            self._tried.set()
            listed = self._keys.ids()
            gone, self._listed = self._listed - listed, listed
            self._tell(gone)

    async def flush(self) -> None:
        """Note in the store when keys were last presented. Never raises: what could not be noted
        is kept for the next time.
        """
        used, self._used = self._used, {}
        if self._source is None or not used:
            return
        try:
            await self._source.note_used(used)
        except RelayError as error:
            self._used = used | self._used
            log.debug("when keys were last presented is not noted: %s", error.message)

    async def _keep(self) -> None:
        flushed = time.monotonic()
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH)
            if time.monotonic() - flushed >= FLUSH:
                flushed = time.monotonic()
                await self.flush()

    async def _read(self, source: KeySource) -> None:
        try:
            found = await source.snapshot(self._seen)
        except RelayError as error:
            self._fail(error.message)
        except Exception as error:  # the keys are still to be looked at the next time
            log.debug("reading the keys failed", exc_info=error)
            self._fail(f"{type(error).__name__}: {error}")
        else:
            if found is not None and self._is_another(found):
                self._seen = None
                self._fail(REPLACED)
                return
            if self.trouble is not None:
                log.info("the keys of callers can be read again")
                self.trouble = None
            if found is not None:
                self._take(found)

    def _is_another(self, found: Snapshot) -> bool:
        """Whether this is an empty store in place of the one whose keys are known: somebody has
        lost the file, and revokes nobody.
        """
        same = hmac.compare_digest(found.secret, self._secret)
        return bool(self._entries) and not same and not found.keys

    def _fail(self, why: str) -> None:
        if self.trouble is None:
            then = "keys that it may have are answered 503" if self.unread else "they stay as known"
            log.error("the keys of callers cannot be read, %s: %s", then, why)
        self.trouble = why

    def _take(self, found: Snapshot) -> None:
        if not hmac.compare_digest(found.secret, self._secret):
            self._secret, self._digest = found.secret, digester(found.secret)
            self._keys.use(found.secret)
            self._listed = self._keys.ids()
        entries: dict[bytes, Entry] = {}
        ids: dict[str, Entry] = {}
        for key in found.keys:
            if key.info.revoked is None:
                expires = key.info.wanted.expires
                until, caller = math.inf if expires is None else expires, key.info.caller()
                entries[key.digest] = ids[caller.id] = (key.digest, until, caller)
                if key.old is not None and key.info.old_until is not None:
                    entries[key.old] = (key.old, min(until, key.info.old_until), caller)
        self._entries, self._seen, self._read_once = entries, found.revision, True
        self._any |= bool(found.keys)
        self._version += 1
        gone, self._ids = frozenset(self._ids) - frozenset(ids), ids
        self._tell(gone)

    def _tell(self, gone: frozenset[str]) -> None:
        for callback in self._callbacks:
            for id in gone:
                try:
                    callback(id)
                except Exception:
                    log.exception("what key %s began could not be ended", id)


def _unavailable() -> Overloaded:
    return Overloaded(UNDECIDED, code="auth_unavailable", retry_after=REFRESH)
