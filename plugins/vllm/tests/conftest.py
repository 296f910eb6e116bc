"""The real vLLM that the tests marked slow share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .vllm_live import COMMAND, Live, environment, started

REAL = "test-model"
"""What it calls its model; the conformance suite asks for that."""


@pytest.fixture(scope="session")
def real_vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    if not os.environ.get(COMMAND):
        pytest.skip(f"{COMMAND} names no vLLM (see the plugin's README)")
    with started(*environment(REAL, tmp_path_factory.mktemp("vllm"))) as live:
        yield live
