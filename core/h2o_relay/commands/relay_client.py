"""A relay that runs, asked over its API: for the commands that are about it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from .. import settings as table
from ..settings import Settings
from .failures import Failure, Mistake
from .options import secret, setting_option, valued
from .session import relay_url

if TYPE_CHECKING:
    from ..http import HttpClient, Response

UNREACHABLE = 3
"""Exit code where no relay answers."""
URL = "H2O_URL"
REACH = 5.0  # seconds to connect
PATIENCE = 20.0  # seconds for a whole answer, all of which the relay knows by heart
FOREVER = 24 * 3600.0  # seconds without an event
LIMIT = 64 * 2**20  # bytes of an answer
NEEDED = ("config", "host", "openai_port")
HIDDEN = ("api_key", "admin_pass", "ca_file", "http_proxy", "https_proxy", "no_proxy",
          "connect_timeout", "log_level")  # fmt: skip


class NoRelay(Failure):
    """Nobody is there, or it is no relay."""

    exit_code = UNREACHABLE

    def __init__(self, url: str, why: str) -> None:
        told = why.replace("the upstream server", "it")
        super().__init__(f"no relay answers at {url}: {told}", "start one with: h2o run")


class Refused(Failure):
    """The relay answered with an error, of this status."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status


def relay_options(function: Any) -> Any:
    """A decorator: --url, --key, and the settings that say where a relay is."""
    options = [
        valued("--url", help=f"The running relay  [env: {URL}]; by default the one on this "
               "machine."),
        valued("--key", metavar="KEY", help="Its admin key, or a caller's; env:NAME, file:PATH and "
               "- are read there  [default: ADMIN_PASS, H2O_API_KEY]"),
        *(setting_option(name) for name in NEEDED),
        *(setting_option(name, hidden=True) for name in HIDDEN),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def address(given: str | None, settings: Settings) -> str:
    """A relay's URL without a path: as given, else in H2O_URL, else where one with these settings
    listens. Raises Mistake.
    """
    from ..errors import InvalidRequest
    from ..http_head import split_url

    url = (given or table.environment().get(URL) or relay_url(settings)).strip()
    url = url if "://" in url else f"http://{url}"
    url = url.rstrip("/").removesuffix("/v1").rstrip("/")
    try:
        split_url(url)
    except InvalidRequest as error:
        raise Mistake(f"not the address of a relay: {error.message}") from None
    return url


class RelayClient:
    """Enter it on the loop that uses it. `admin` and `key` are the keys for /admin and for /v1."""

    def __init__(self, flags: Mapping[str, Any], settings: Settings) -> None:
        """`flags` are those of `relay_options`. Raises Mistake, SettingError."""
        self.url = address(flags.get("url"), settings)
        given = flags.get("key")
        one = None if given is None else secret("key", given)
        self.admin = one or settings.admin_pass
        self.key = one or settings.api_key
        reach = min(REACH, settings.connect_timeout)
        self._settings = replace(settings, connect_timeout=reach)
        self._http: HttpClient | None = None

    async def __aenter__(self) -> Self:
        from ..http import HttpClient

        self._http = await HttpClient(self._settings).__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.__aexit__()

    async def ask(
        self, method: str, path: str, key: str | None, body: Mapping[str, Any] | None = None
    ) -> Any:
        """The answer's JSON. Raises NoRelay, Refused."""
        import orjson

        from ..errors import RelayError

        sent = b"" if body is None else orjson.dumps(body)
        limits = {"first_byte": PATIENCE, "idle": PATIENCE, "total": PATIENCE}
        assert self._http is not None
        try:
            async with self._http.request(
                method, f"{self.url}{path}", headers=_headers(key, body is not None), body=sent,
                **limits,
            ) as response:  # fmt: skip
                if response.status >= 400:
                    raise await self._refusal(response)
                return orjson.loads(await response.read(LIMIT))
        except RelayError as error:
            raise NoRelay(self.url, error.message) from None
        except orjson.JSONDecodeError:
            raise NoRelay(self.url, "what answers there does not answer in JSON") from None

    async def ask_as_admin(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Any:
        """The same of what only the relay's operator is told. Raises NoRelay, Refused, and Failure
        for a key that is not the admin's.
        """
        try:
            return await self.ask(method, path, self.admin or self.key, body)
        except Refused as error:
            if error.status != 401:
                raise
            raise Failure(
                f"the relay at {self.url} tells this only to who has its admin key",
                "start it with ADMIN_PASS in the environment; here set ADMIN_PASS, or give --key",
            ) from None

    async def events(self, path: str, key: str | None) -> AsyncGenerator[Any, None]:
        """What a stream of events says, one JSON value after another; its end is NoRelay too.
        Close it. Raises NoRelay, Refused.
        """
        import orjson

        from ..errors import RelayError
        from ..sse import Splitter

        splitter = Splitter(LIMIT)
        assert self._http is not None
        try:
            async with self._http.request(
                "GET", f"{self.url}{path}", headers=_headers(key), first_byte=PATIENCE, idle=FOREVER
            ) as response:
                if response.status >= 400:
                    raise await self._refusal(response)
                async for data in response:
                    for event in splitter.feed(data).split(b"\n\n"):
                        if event:
                            yield orjson.loads(event.removeprefix(b"data: "))
        except RelayError as error:
            raise NoRelay(self.url, error.message) from None
        except orjson.JSONDecodeError:
            raise NoRelay(self.url, "what answers there does not answer in JSON") from None
        raise NoRelay(self.url, "it has ended the stream of its events")

    async def _refusal(self, response: Response) -> Refused:
        """The relay's own error. Raises NoRelay for what is no relay's."""
        from ..errors import error_object

        message = error_object(await response.read(LIMIT)).get("message")
        if not isinstance(message, str) or not message:
            raise NoRelay(self.url, f"what answers there says {response.status}")
        return Refused(response.status, message)


def _headers(key: str | None, json: bool = False) -> dict[str, str]:
    bearer = {"authorization": f"Bearer {key}"} if key else {}
    return bearer | ({"content-type": "application/json"} if json else {})
