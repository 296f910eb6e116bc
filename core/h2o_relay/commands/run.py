"""`h2o run`: everything that can be told beforehand is checked, then the frontend takes over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import click

from ..settings import Settings, default
from .config_file import current_config
from .failures import Failure, Mistake
from .logs import log_to_stderr
from .loops import run_async
from .notes import note, warn
from .options import RelayCommand, setting_options, settings_of, valued
from .servers import (
    check_templates,
    configured_servers,
    read_specs,
    refuse_own_address,
    server_arguments,
    servers_of,
    try_listening,
)

if TYPE_CHECKING:
    from ..plugins import Plugins
    from ..pools import PoolSpec
    from ..spec import ServerSpec

FRONTENDS = "h2o_relay.frontends"
SECRETS = {
    "auth": "H2O_AUTH", "h2ogpt_api_keys": "H2O_H2OGPT_API_KEYS", "admin_pass": "ADMIN_PASS",
    "ssl_keyfile_password": "H2O_SSL_KEYFILE_PASSWORD",
}  # fmt: skip
LISTS = frozenset({"auth", "h2ogpt_api_keys"})
"""Those that may also be the path of a file."""
Serve = Callable[..., int | None]
"""`serve(settings, servers, pools=..., config=...)`: what a frontend is asked to do."""
pool_option = valued(
    "--pool", "pools", multiple=True, metavar="NAME=A,B", envvar="H2O_POOL",
    help="Serve models A and B under one NAME, several times if need be. Options follow after "
    "semicolons: strategy=sticky, resume=true, queue=10 (docs/routing.md).",
)  # fmt: skip


@click.command(cls=RelayCommand, short_help="Serve the chat UI and the API.")
@server_arguments
@pool_option
@setting_options(listening=True)
def run(servers: tuple[str, ...], pools: tuple[str, ...], **flags: Any) -> int:
    """Serve the chat UI and the API in front of these servers.

    Without a SERVER the embedded model is served; the first time it is downloaded. Servers that
    run on this machine already (Ollama, vLLM, TGI, llama.cpp, LM Studio) are served beside it.

    \b
    h2o run
    h2o run vllm_chat:http://10.0.0.5:8000 openai_chat
    h2o run --inference_server=vllm:10.0.0.5:8000 --base_model=my-model
    h2o run --config h2o.yaml                        see: h2o config
    h2o run --host 0.0.0.0 --api-key file:key.txt --no-ui
    OPENAI_API_KEY=... h2o run openai_chat

    \b
    Server strings are h2oGPT's, and so are the options: --openai_port=5000,
    --ui=False and --base_model=None work as well. For every option there is
    a variable H2O_<NAME>, and H2OGPT_<NAME> is read too.
    """
    return start(servers, settings_of(flags), flags, pools)


@click.command(cls=RelayCommand, short_help="Serve the API alone.")
@server_arguments
@pool_option
@setting_options(listening=True)
def serve(servers: tuple[str, ...], pools: tuple[str, ...], **flags: Any) -> int:
    """Serve the API alone: `h2o run --no-ui`.

    \b
    h2o serve vllm_chat:http://10.0.0.5:8000 --openai-port 8080
    """
    return start(servers, settings_of(flags, ui=False), flags, pools)


def start(
    texts: Sequence[str], settings: Settings, flags: Mapping[str, Any], pools: Sequence[str] = ()
) -> int:
    """Check, fetch what the servers need, and serve until stopped; returns the exit code."""
    from ..plugins import Plugins
    from .fetching import fetch_all

    config, pooled = current_config(), read_pools(pools)
    given = configured_servers(texts, settings)
    specs = given or configured_servers((settings.default_server,), settings)
    plugins = Plugins.discover(settings.load_plugins)
    read = read_specs(plugins, specs)
    servers = servers_of(read)
    refuse_nothing(settings)
    refuse_foreign_host(settings.host)
    refuse_open(settings)
    check_access(settings)
    settings = two_ports(settings)
    refuse_own_address(servers, settings)
    warn_of_keys(read, specs, [*texts, flags.get("inference_server")], flags)
    log_to_stderr(settings.log_level, settings.log_format)
    run_async(check_templates(read))
    serve = frontend("proxy")
    if not given and settings.discover:
        read = with_found(read, plugins, settings)
    run_async(fetch_all(plugins, servers, settings))
    ours = read[: len(read) - len(config.entries)] if config else read
    return serve(settings, ours, pools=pooled, config=config) or 0


def read_pools(texts: Sequence[str]) -> list[PoolSpec]:
    """The pools of the command line. Raises Mistake."""
    from ..pools import PoolError, PoolSpec

    try:
        found = [PoolSpec.parse(text) for text in texts]
    except PoolError as error:
        raise Mistake(f"--pool: {error}", "h2o run --help has an example") from None
    names = [pool.name for pool in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Mistake(f"--pool: there are two pools called {twice}")
    return found


def with_found(
    read: Sequence[ServerSpec], plugins: Plugins, settings: Settings
) -> list[ServerSpec]:
    """The servers, and those that run on this machine already; says what was found."""
    from ..discovery import discover
    from ..lock import tuning, visible
    from ..spec import ServerSpec

    specs = list(read)
    for found in run_async(discover(plugins, settings)):
        if found.server is None:
            note(f"{found.url} {found.reason} and is left out; name it to have it served")
            continue
        product = found.server.vendor or found.server.plugin
        note(f"found {product} at {found.url}, served as well (--no-discover leaves it out)")
        specs.append(ServerSpec(server=found.server, tuning=tuning.of_settings(settings)))
    if settings.visible_models is not None:
        return visible.choose(specs, visible.read(settings.visible_models))
    return specs


def warn_of_keys(
    read: Sequence[ServerSpec],
    given: Sequence[ServerSpec],
    typed: Sequence[str | None],
    flags: Mapping[str, Any],
) -> None:
    """Say that `ps` shows the keys that stand on the command line of a process that stays."""
    seen = "other users of this machine can see it"
    key, lock = flags.get("api_key"), flags.get("model_lock")
    if is_typed(key):
        warn(f"--api-key holds the key and {seen}; use --api-key=env:NAME or file:PATH")
    for name, variable in SECRETS.items():
        value = str(flags.get(name) or "")
        if value.startswith(("[", "(")) or (name not in LISTS and is_typed(value)):
            warn(f"--{name} holds a secret and {seen}; {variable} can hold it")
    masked = [server.shown for server in servers_of(read)]
    for shown, spec in zip(masked, given, strict=True):
        if spec.server in typed and "***" in shown:
            warn(f"{shown} holds a key and {seen}; H2O_INFERENCE_SERVER can hold it")
    file = current_config()
    own = len(given) - (len(file.entries) if file else 0)  # the others stand in the file
    keys = any(spec.key for spec in given[:own]) or any("***" in shown for shown in masked[:own])
    if lock and not lock.startswith("@") and keys:
        warn(f"--model-lock holds a key and {seen}; use --model-lock=@FILE or H2O_MODEL_LOCK")


def is_typed(secret: str | None) -> bool:
    """Whether an option holds a secret, and not the place where it is kept."""
    return bool(secret) and secret != "-" and not str(secret).startswith(("env:", "file:"))


def check_access(settings: Settings) -> None:
    """Raise SettingError where the settings do not tell who may use the relay, or where its data
    is kept.
    """
    from ..accounting.stored_keys import any_stored
    from ..api_keys import ApiKeys
    from ..auth_settings import read_auth
    from ..settings import store_url

    read_auth(settings)
    keys = ApiKeys(settings).current()
    store_url(settings)
    for name in ("api", "ui"):
        wanted = getattr(settings, f"enforce_h2ogpt_{name}_key")
        if wanted and not (keys or any_stored(replace(settings, enforce_h2ogpt_api_key=None))):
            warn(f"--enforce_h2ogpt_{name}_key: there is no key yet, so that nobody gets in; make "
                 "one with: h2o keys create NAME")  # fmt: skip


def two_ports(settings: Settings) -> Settings:
    """The settings with ports of their own for the API and the chat UI.

    h2oGPT's GRADIO_SERVER_PORT=5000 takes the port that is the API's by default. Raises Mistake
    where both were asked for.
    """
    both = settings.ui and settings.serves_api
    if not both or settings.port != settings.openai_port or not settings.port:
        return settings
    if settings.openai_port != default("openai_port"):
        raise Mistake(
            f"--port and --openai-port are both {settings.port}",
            "the chat UI and the API need a port each",
        )
    note(f"the chat UI has port {settings.port}, so that the API is on {settings.port + 1}")
    return replace(settings, openai_port=settings.port + 1)


def refuse_nothing(settings: Settings) -> None:
    """Raise Mistake for a relay that nobody could use."""
    if settings.ui or settings.serves_api:
        return
    raise Mistake(
        f"{settings.api_switch} leaves the API out, and there is no chat UI: nothing is served",
        "h2o chat and h2o ask talk to a model without a relay",
    )


def refuse_open(settings: Settings) -> None:
    """Raise Mistake for a relay that everybody could use, unless that is wanted."""
    from ..accounting.stored_keys import any_stored
    from ..hosts import is_exposed

    if not is_exposed(settings) or any_stored(settings):
        if settings.allow_open and is_exposed(replace(settings, allow_open=False)):
            warn(f"--allow-open: anybody who reaches {settings.host} can use this relay")
        return
    raise Mistake(
        f"listening on {settings.host} without a key would let anybody use it",
        "make a key (h2o keys create NAME, or --api-key file:PATH), or pass --allow-open",
    )


def refuse_foreign_host(host: str) -> None:
    """Raise Mistake for an address that this machine cannot listen on."""
    try:
        try_listening(host, 0)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise Mistake(f"--host: cannot listen on {host!r}: {reason}") from None


def _package(error: ModuleNotFoundError) -> str:
    return (error.name or str(error)).partition(".")[0]


def frontend(name: str) -> Serve:
    """What an entry point of the frontends loads. Raises Failure, saying what to install."""
    for point in entry_points(group=FRONTENDS, name=name):
        try:
            found: Serve = point.load()
        except ModuleNotFoundError as error:
            raise Failure(
                f"the {name} frontend needs {_package(error)}, which is not installed",
                f'install it with: pip install "h2o-relay[{name}]"',
            ) from error
        return found
    raise Failure(
        f"no {name} frontend is installed", f'install it with: pip install "h2o-relay[{name}]"'
    )
