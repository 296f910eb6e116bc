"""The contract with plugins: every hook is specified, documented, bound and given to the right."""

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

from h2o_relay import hookspecs, types
from h2o_relay.hookspecs import HOOKS
from h2o_relay.plugins import DEFAULTS, Plugin, Plugins

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"
HEADING = re.compile(r"^### (\w+)\((.*)\)$", re.MULTILINE)
OF_THE_CORE = {"name", "hooks"}


def marked() -> list[str]:
    """The functions of hookspecs that pluggy takes for hook specifications."""
    marker = f"{hookspecs.PROJECT}_spec"
    return [name for name, value in vars(hookspecs).items() if hasattr(value, marker)]


def test_the_list_of_hooks_is_whole() -> None:
    assert list(HOOKS) == marked()
    assert len(set(HOOKS)) == len(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_parameters_have_no_defaults_and_positions(name: str) -> None:
    for parameter in inspect.signature(getattr(hookspecs, name)).parameters.values():
        assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        assert parameter.default is parameter.empty
        assert parameter.annotation is not parameter.empty


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_says_what_it_does(name: str) -> None:
    hook = getattr(hookspecs, name)
    assert len(inspect.getdoc(hook) or "") > 40
    assert "return" in get_type_hints(hook), "it says what it returns"


def test_every_hook_is_documented_under_its_own_heading() -> None:
    headings = dict(HEADING.findall(PAGE.read_text(encoding="utf-8")))
    expected = {
        name: ", ".join(inspect.signature(getattr(hookspecs, name)).parameters) for name in HOOKS
    }
    assert {name: headings.get(name) for name in HOOKS} == expected


@pytest.mark.parametrize("name", HOOKS)
def test_the_documentation_says_what_the_hook_says(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    section = page.partition(f"### {name}(")[2].partition("\n### ")[0]
    doc = inspect.getdoc(getattr(hookspecs, name)) or ""
    assert doc in section


def test_every_hook_is_bound() -> None:
    """A plugin's fields are the hooks, and nothing else that a plugin could mistake for one."""
    assert {item.name for item in fields(Plugin)} - OF_THE_CORE == set(HOOKS)


def test_every_default_is_a_hooks() -> None:
    assert set(DEFAULTS) <= set(HOOKS)
    for name, default in DEFAULTS.items():
        if default is not None:
            wanted = list(inspect.signature(getattr(hookspecs, name)).parameters)
            assert list(inspect.signature(default).parameters) == wanted, name


def test_installed_plugins_implement_hooks_only() -> None:
    plugins = Plugins.discover().usable()
    assert plugins
    for plugin in plugins:
        assert plugin.hooks <= set(HOOKS)
        assert "parse_server_string" in plugin.hooks


ELSEWHERE = frozenset(
    {"Any", "None", "AsyncIterator", "AbstractAsyncContextManager", "Path", "HttpClient"}
)


def test_what_hooks_speak_of_is_published() -> None:
    """Every type in a hook's signature can be imported from `h2o_relay.types`; the client that
    `connect` is given has a module of its own.
    """
    for name in HOOKS:
        for text in inspect.get_annotations(getattr(hookspecs, name)).values():
            for word in re.findall(r"\b[A-Z]\w+", text):
                if word in ELSEWHERE:
                    continue
                assert word in types.__all__ or word == "Getter", f"{name}: {word}"
                assert hasattr(types, word)
