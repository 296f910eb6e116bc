"""Every test here runs with keys of nobody's and without any AWS configuration around."""

from pathlib import Path

import pytest

from h2o_relay_sagemaker.standin import only_these_keys


@pytest.fixture(autouse=True)
def aws_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, leaves_nothing: None
) -> pytest.MonkeyPatch:
    """The patch that is undone after the test."""
    only_these_keys(monkeypatch, tmp_path)
    return monkeypatch
