"""From settings to the servers that are meant: a lock's entries, or those of a command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..h2ogpt import flags
from ..settings import Settings
from ..spec import ServerSpec
from ..types import Tuning
from . import keys, source, tuning, visible
from .errors import LockError


@dataclass(frozen=True, slots=True)
class Configured:
    """The servers in their order, and a line for everything that means nothing here."""

    specs: tuple[ServerSpec, ...]
    notes: tuple[str, ...] = ()


def configured(
    settings: Settings, servers: Sequence[str] = (), entries: Sequence[Mapping[str, Any]] = ()
) -> Configured:
    """What the settings and the servers of a command line say, and after them the entries of a
    configuration file (`Config.entries`); no server at all is ().

    Raises LockError. Opens nothing but the files that a lock and a chat template are in.
    """
    common = tuning.of_settings(settings)
    extra = settings.inference_server
    given = (*servers, extra) if extra and extra not in servers else tuple(servers)
    notes: list[str] = []
    if settings.model_lock is not None:
        _alone(settings, given)
        specs, notes = _locked(settings.model_lock, common)
    elif given:
        specs = _named(given, settings.base_model, common)
    elif settings.base_model:
        specs = [ServerSpec(server=keys.local(settings.base_model, "--base-model"), tuning=common)]
    else:
        specs = []
    specs += [_of_file(number, entry, common) for number, entry in enumerate(entries)]
    if settings.visible_models is not None and specs:
        specs = visible.choose(specs, visible.read(settings.visible_models))
    notes += _prompt_dicts(specs)
    return Configured(tuple(specs), tuple(dict.fromkeys(notes)))


def _alone(settings: Settings, given: Sequence[str]) -> None:
    """A lock says everything about servers and models, so that nothing else may."""
    other = "--base-model" if settings.base_model else ""
    if given:
        other = "--inference-server" if settings.inference_server else "a server"
    if other:
        raise LockError(
            f"--model-lock and {other} cannot be used together: the lock names the servers",
            "make it an entry of the lock: {'inference_server':'...','base_model':'...'}",
        )


def _named(given: Sequence[str], base_model: str | None, common: Tuning) -> list[ServerSpec]:
    if base_model and len(given) > 1:
        raise LockError(
            f"--base-model is the name of one server's model, and {len(given)} servers are given",
            "give one server, or leave --base-model out: the models keep their own names",
        )
    return [ServerSpec(server=text, base_model=base_model, tuning=common) for text in given]


def _locked(text: str, common: Tuning) -> tuple[list[ServerSpec], list[str]]:
    specs, notes = [], []
    for number, entry in enumerate(source.read(text)):
        spec, idle = keys.spec(number, entry, common)
        specs.append(replace(spec, written=entry))
        notes += [f"--model-lock: {key}: {flags.answer(key)}" for key in idle]
    return specs, notes


def _of_file(number: int, entry: Mapping[str, Any], common: Tuning) -> ServerSpec:
    rest = {key: value for key, value in entry.items() if key != "visible"}
    spec, _ = keys.spec(number, rest, common, f"models[{number}]")
    return replace(spec, visible=entry.get("visible", True))


def _prompt_dicts(specs: Iterable[ServerSpec]) -> list[str]:
    ignored = [spec for spec in specs if spec.tuning.prompt_dict is not None
               and str(spec.tuning.prompt_type) not in ("custom", "-1")]  # fmt: skip
    return ["--prompt-dict is read with --prompt-type=custom only"] if ignored else []
