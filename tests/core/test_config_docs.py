"""docs/configuration.md: its tables are current and its examples work."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.config import ConfigError, parse_config

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
YAML = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def generate() -> Any:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["entries", "pools"])
def test_tables_are_current(generate: Any, name: str) -> None:
    assert generate.PARTS[name]() in PAGE, "run docs/generate.py"


def test_examples_are_read() -> None:
    whole, comment = YAML
    found = parse_config(whole, {})
    assert (len(found.settings), len(found.entries), len(found.pools)) == (1, 3, 1)
    assert parse_config(comment, {}).entries == ()


def test_mistakes_are_told_as_the_page_says() -> None:
    text = """\
settings:
  openai_prot: 5000
models:
  - inference_server: echo
    base_model: a
  - inference_server: echo
    base_model: b
    h2ogpt_key: ${env.KEY}
pools:
  llama:
    members: [a, b]
    strategy: lest-load
"""
    with pytest.raises(ConfigError) as caught:
        parse_config(text, {})
    lines = [f"h2o: {caught.value.headline}", *(f"  {line}" for line in caught.value.more)]
    assert "\n".join(["```", *lines, "```"]) in PAGE
