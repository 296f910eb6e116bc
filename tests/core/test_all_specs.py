"""What is served of the command line and the file together, at the start and after each reload."""

from __future__ import annotations

from pathlib import Path

import pytest

from h2o_relay import settings
from h2o_relay.administration import Administration
from h2o_relay.config import Config, parse_config
from h2o_relay.configuration import Configuration, all_specs
from h2o_relay.errors import InvalidRequest
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.spec import ServerSpec

PLACE = "vllm_chat:http://127.0.0.1:9/v1"


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return Plugins.discover("vllm")


@pytest.fixture
def given(plugins: Plugins) -> list[ServerSpec]:
    return [ServerSpec(server=PLACE, base_model="ours").parsed(plugins.parse)]


def text(*names: str) -> str:
    return "models:\n" + "".join(
        f"  - inference_server: {PLACE}\n    base_model: {name}\n" for name in names
    )


def config(*names: str, path: str = "h2o.yaml") -> Config:
    return parse_config(text(*names), {}, path)


def listed(specs: list[ServerSpec]) -> dict[str | None, object]:
    return {spec.base_model: spec.visible for spec in specs}


def test_the_command_line_comes_first(plugins: Plugins, given: list[ServerSpec]) -> None:
    found = all_specs(given, config("a", "b"), settings.load({}, {}), plugins)
    assert [spec.base_model for spec in found] == ["ours", "a", "b"]
    assert all_specs(given, None, settings.load({}, {}), plugins) == given


def test_what_is_listed_is_chosen_among_all(plugins: Plugins, given: list[ServerSpec]) -> None:
    chosen = settings.load({"visible_models": "['b', 0]"}, {})
    found = all_specs(given, config("a", "b"), chosen, plugins)
    assert listed(found) == {"ours": True, "a": False, "b": True}


def test_a_choice_of_what_is_gone_is_told(plugins: Plugins, given: list[ServerSpec]) -> None:
    chosen = settings.load({"visible_models": "b"}, {})
    with pytest.raises(InvalidRequest, match="no entry is called 'b'"):
        all_specs(given, config("a"), chosen, plugins)


async def test_a_reload_keeps_what_has_not_changed(
    plugins: Plugins, given: list[ServerSpec], tmp_path: Path
) -> None:
    path = tmp_path / "h2o.yaml"
    path.write_text(text("a", "b"))
    chosen = settings.load({"visible_models": "['b', 0]"}, {})
    first = config("a", "b", path=str(path))
    specs = all_specs(given, first, chosen, plugins)
    async with Kernel(chosen, specs, plugins) as kernel:
        configuration = Configuration(kernel, given, (), first)
        change = await configuration.reload()
        assert not change
        assert change.line == "3 kept"
        assert [model.name for model in kernel.models()] == ["ours", "b"]


async def test_the_log_tells_of_a_reload_whoever_asks(
    plugins: Plugins, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, chosen = tmp_path / "h2o.yaml", settings.load({}, {})
    path.write_text(text("a"))
    first = config("a", path=str(path))
    caplog.set_level("INFO", "h2o_relay.configuration")
    async with Kernel(chosen, all_specs((), first, chosen, plugins), plugins) as kernel:
        admin = Administration(kernel, configuration=Configuration(kernel, (), (), first))
        path.write_text(text("a", "b"))
        assert (await admin.reload()).kept == 1
        path.write_text("models: [\n")
        with pytest.raises(InvalidRequest):
            await admin.reload()
    good, bad = [record.getMessage() for record in caplog.records
                 if record.name == "h2o_relay.configuration"]  # fmt: skip
    assert good == "h2o.yaml: 1 added, 1 kept"
    assert bad.startswith("h2o.yaml is wrong, the old configuration goes on: line 2: ")
