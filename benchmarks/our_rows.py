"""Our rows beside other gateways: as it comes, with everything a team switches on, translating."""

from __future__ import annotations

import subprocess

from .gateways import (
    GATEWAYS,
    BenchmarkError,
    Gateway,
    Launch,
    Place,
    clean_environment,
    h2o,
    h2o_command,
    upstream_command,
)  # fmt: skip
from .peer_rows import PEERS

# Limits that are counted for every request and never reached.
LIMITS = ("--rpm", 10**9, "--tpm", 10**12, "--concurrent", 10**5, "--budget", 10**9)
PRICES = "prices:\n  models:\n    bench: {input: 0.15, output: 0.6}\n"


def _load_limit(place: Place) -> Launch:
    return Launch(upstream_command(place.port))


def _h2o_keys(place: Place, *more: str) -> Launch:
    file = place.folder / "h2o.yaml"
    file.write_text(PRICES, "utf-8")
    launch = h2o(place, "--config", str(file), "--metrics-keys", "--usage-days", "90", *more)
    return Launch(launch.command, launch.environment, _key(place))


def _h2o_workers(place: Place) -> Launch:
    return _h2o_keys(place, "--workers", "2")


def _key(place: Place) -> str:
    """A key of the store that the relay will have; raises BenchmarkError if none can be made."""
    command = [str(h2o_command()), "keys", "create", "bench", *map(str, LIMITS)]
    command += ["--save_dir", str(place.folder), "--config="]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env=clean_environment()
    )
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command)}\nfails:\n{done.stderr}")
    return done.stdout.strip()


def _h2o_ollama(place: Place) -> Launch:
    return h2o(place, server="ollama:{}")


OURS = (
    GATEWAYS["h2o"],
    Gateway(
        "h2o-keys", "the same with a key, its limits and budget, prices, usage, metrics by key",
        _h2o_keys,
    ),
    Gateway("h2o-workers", "that with two workers, on the same core", _h2o_workers),
    Gateway("h2o-ollama", "h2o relay before Ollama's API, every event translated", _h2o_ollama),
)  # fmt: skip
ROWS = {
    each.name: each
    for each in (
        GATEWAYS["direct"],
        Gateway("load-limit", "the upstream, on the core where gateways are", _load_limit, False),
        *PEERS,
        GATEWAYS["reference"],
        *OURS,
    )
}
