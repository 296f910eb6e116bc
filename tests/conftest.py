"""Property tests take as long as the machine needs, keep no examples, and try the same ones in each
run; with H2O_TEST_RANDOM set they look for others. No test, and no process
that one starts, keeps a relay's data in the folder of the user who runs the tests.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

STEADY = "H2O_TEST_RANDOM" not in os.environ
settings.register_profile("relay", deadline=None, database=None, derandomize=STEADY)
settings.load_profile("relay")

numbers = itertools.count()


# Not a fixture: it must hold before the first test is set up, which may not change the environment.
FOLDER = Path(tempfile.mkdtemp(prefix="h2o-relay-tests-"))
"""Where a relay keeps its data that is told nothing, or that a module's fixture starts."""
os.environ |= {"XDG_DATA_HOME": str(FOLDER / "home"), "H2O_SAVE_DIR": str(FOLDER / "shared")}
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


@pytest.fixture(autouse=True)
def data_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for each test, made by the relay that needs it."""
    monkeypatch.setenv("H2O_SAVE_DIR", str(FOLDER / str(next(numbers))))
