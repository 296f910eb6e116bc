"""Settings: where each may come from, how it is read, and what is refused."""

import pickle
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from h2o_relay import settings
from h2o_relay.settings import (
    SettingError,
    Settings,
    about,
    cache_dir,
    env_names,
    kind,
    load,
    store_url,
)  # fmt: skip

NAMES = [item.name for item in fields(Settings)]
GOOD: dict[type, tuple[Any, Any]] = {bool: ("no", False), int: ("2048", 2048), float: ("7.5", 7.5)}

SHAPED = {"root_path": "/relay", "cors_origins": "https://app.example.com"}
"""Texts that not any word will do for."""


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_a_help_and_a_usable_default(name: str) -> None:
    item = about(name)
    assert item.metadata["help"].endswith(".")
    default = settings.default(name)
    assert getattr(Settings(), name) == default
    if default is not None:
        assert settings.read(name, default, name) == default


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_comes_from_flag_and_environment(name: str) -> None:
    word = SHAPED.get(name) or (*about(name).metadata["choices"], "info")[0]
    text, value = GOOD.get(kind(name), (word, word))
    assert getattr(load({name: text}, {}), name) == value
    for variable in env_names(name):
        assert getattr(load({}, {variable: text}), name) == value
        assert getattr(load({name: None}, {variable: text}), name) == value
    assert env_names(name)[:2] == (f"H2O_{name.upper()}", f"H2OGPT_{name.upper()}")


def test_the_first_place_wins() -> None:
    env = {"H2O_REQUEST_TIMEOUT": "3", "H2OGPT_REQUEST_TIMEOUT": "4", "REQUEST_TIMEOUT": "5"}
    assert load({"request_timeout": 2.0}, env).request_timeout == 2
    for expected in (3, 4, 5, 60):
        assert load({}, env).request_timeout == expected
        env.pop(next(iter(env), ""), None)


@pytest.mark.parametrize("text", ["", " ", "None", "none"])
def test_an_empty_variable_is_none(text: str) -> None:
    env = {"H2O_API_KEY": text, "H2OGPT_API_KEY": "second", "H2O_PORT": text}
    assert load({}, env).api_key == "second"
    assert load({}, env).port == 7860


def test_no_plugins_is_a_choice() -> None:
    assert load({}, {"H2O_LOAD_PLUGINS": ""}).load_plugins == ""
    assert load({}, {}).load_plugins is None


@pytest.mark.parametrize("text", ["1", "true", "YES", " on "])
def test_true(text: str) -> None:
    assert load({"allow_open": text}, {}).allow_open is True


@pytest.mark.parametrize("text", ["0", "False", "no", "OFF"])
def test_false(text: str) -> None:
    assert load({"ui": text}, {}).ui is False


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16777216", 2**24), ("64KB", 2**16), ("16MB", 2**24), ("16MiB", 2**24),
        ("1.5GB", 3 * 2**29),
        (" 2 kb ", 2048), ("2048b", 2048), (4096, 4096),
    ],
)  # fmt: skip
def test_sizes(text: Any, size: int) -> None:
    assert load({"max_body": text}, {}).max_body == size


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("port", "x", "'x' is not a whole number"),
        ("port", "1.5", "is not a whole number"),
        ("port", "", "is not a whole number"),
        ("port", 65536, "from 0 to 65535"),
        ("port", -1, "from 0 to 65535"),
        ("ui", "maybe", "is not true or false"),
        ("refresh", "soon", "is not a number"),
        ("refresh", "nan", "is not a number"),
        ("refresh", "inf", "is not a number"),
        ("refresh", 0, "at least 0.1"),
        ("max_body", "16XB", "is not a size"),
        ("max_body", "infMB", "is not a size"),
        ("max_body", "nanMB", "is not a size"),
        ("max_body", "1023", "at least 1024"),
        ("max_body", "-1MB", "at least 1024"),
        ("log_level", "loud", "is not one of debug, info, warning, error"),
        ("auth_access", "ajar", "is not one of open, closed"),
        ("model_lock_columns", -2, "at least -1"),
        ("share", "True", "there is no public link"),
    ],
)
def test_what_is_refused(name: str, text: Any, words: str) -> None:
    with pytest.raises(SettingError, match=words) as caught:
        load({name: text}, {})
    assert str(caught.value).startswith(f"--{name.replace('_', '-')}: ")
    if isinstance(text, str) and text:
        with pytest.raises(SettingError, match=words) as caught:
            load({}, {f"H2OGPT_{name.upper()}": text})
        assert str(caught.value).startswith(f"H2OGPT_{name.upper()}: ")


def test_an_unknown_setting() -> None:
    with pytest.raises(SettingError, match="unknown settings: bar, foo"):
        load({"foo": 1, "bar": 2, "port": 1}, {})


def test_no_key_in_the_repr() -> None:
    given = {
        name: f"http://SECRET@{name}" for name in NAMES
        if about(name).default in (None, "llama_cpp") and kind(name) is str
        and not about(name).metadata["choices"]
    }  # fmt: skip
    assert {"api_key", "inference_server", "model_lock", "http_proxy", "default_server"} <= set(
        given
    )
    public = {"base_model", "ca_file", "load_plugins", "visible_models", "system_prompt"}
    public |= {"prompt_type", "prompt_dict", "chat_template", "save_dir"}
    public |= {"auth_filename", "guest_name", "config"}
    public |= {"ssl_certfile", "ssl_keyfile", "root_path"}
    shown = repr(load({k: v for k, v in given.items() if k not in public}, {}))
    assert "SECRET" not in shown


def test_a_value() -> None:
    chosen = load({"port": 1}, {})
    assert pickle.loads(pickle.dumps(chosen)) == chosen
    with pytest.raises(FrozenInstanceError):
        chosen.port = 2  # type: ignore[misc]


def test_the_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("H2O_PORT", "1234")
    assert load({}).port == 1234
    assert settings.environment()["H2O_PORT"] == "1234"


def test_where_models_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_dir({"H2O_CACHE_DIR": str(tmp_path)}) == tmp_path
    assert cache_dir({"H2O_CACHE_DIR": "~/x"}) == Path("~/x").expanduser()
    assert cache_dir({}).name == "h2o-relay"
    monkeypatch.setenv("H2O_CACHE_DIR", str(tmp_path / "y"))
    assert cache_dir() == tmp_path / "y"


def test_where_data_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    assert store_url(Settings()) == f"sqlite:///{tmp_path}/home/h2o-relay/relay.db"
    chosen = load({}, {"SAVE_DIR": str(tmp_path / "x")})
    assert store_url(chosen) == f"sqlite:///{tmp_path}/x/relay.db"
    named = load({"store": "postgresql://h/db"}, {"SAVE_DIR": "x"})
    assert store_url(named) == "postgresql://h/db"
    monkeypatch.chdir(tmp_path)
    assert store_url(Settings(save_dir="./a b")) == f"sqlite:///{tmp_path}/a b/relay.db"
    assert store_url(Settings(save_dir="50%?")) == f"sqlite:///{tmp_path}/50%25%3F/relay.db"
    home = Path("~/x").expanduser()
    assert store_url(Settings(save_dir="~/x")) == f"sqlite:///{home}/relay.db"


def test_tests_keep_no_data_in_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "h2o-relay-tests-" in store_url(load({}))
    monkeypatch.delenv("H2O_SAVE_DIR")
    assert "h2o-relay-tests-" in store_url(load({}))
