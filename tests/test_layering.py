"""Who may import whom, read from the syntax trees of the whole repository."""

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = "h2o_relay"
FRONTENDS = {"h2o_relay_proxy": ROOT / "proxy", "h2o_relay_ui": ROOT / "ui"}
PLUGINS = {
    f"h2o_relay_{folder.name}": folder
    for folder in sorted((ROOT / "plugins").iterdir())
    if (folder / "pyproject.toml").exists()
} | {f"h2o_relay_{name}": ROOT / "examples" / f"h2o-relay-{name}" for name in ("markov", "parrot")}
MOST_LINES = 350
LONGER = {"errors.py": 500}  # a table of classes; each says in its docstring when it happens


def sources(folder: Path, package: str) -> list[Path]:
    module = folder / f"{package}.py"
    return [module] if module.exists() else sorted((folder / package).rglob("*.py"))


FILES = {
    CORE: sources(ROOT / "core", CORE),
    **{name: sources(folder, name) for name, folder in (FRONTENDS | PLUGINS).items()},
}
EVERY = [(package, path) for package, paths in FILES.items() for path in paths]
IDS = [f"{package}-{path.relative_to(ROOT)}" for package, path in EVERY]
every_file = pytest.mark.parametrize(("package", "path"), EVERY, ids=IDS)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(package: str, path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of every import, also of those inside functions; relative ones made whole."""
    folder = path.parent
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                base = folder
                for _ in range(node.level - 1):
                    base = base.parent
                root = base.parts[base.parts.index(package) :]
                module = ".".join([*root, *([module] if module else [])])
            for alias in node.names:
                yield module, alias.name


def top(module: str) -> str:
    return module.partition(".")[0]


def ours(module: str) -> bool:
    return top(module) == CORE or top(module).startswith(f"{CORE}_")


def test_there_is_something_to_look_at() -> None:
    assert all(FILES.values()), FILES
    assert len(FILES[CORE]) > 30
    assert {"h2o_relay_openai", "h2o_relay_vllm", "h2o_relay_llama_cpp"} <= set(PLUGINS)
    found = list(imports(CORE, ROOT / "core" / CORE / "kernel.py"))
    assert ("h2o_relay.errors", "RelayError") in found
    assert ("h2o_relay", "settings") in found


@pytest.mark.parametrize("path", FILES[CORE], ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_imports_no_plugin_and_no_frontend(path: Path) -> None:
    wrong = [m for m, _ in imports(CORE, path) if ours(m) and top(m) != CORE]
    assert not wrong


@pytest.mark.parametrize("path", FILES[CORE], ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_names_no_plugin_in_an_import_by_text(path: Path) -> None:
    """`import_module` and entry points are the only other ways in."""
    texts = [
        node.value for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]  # fmt: skip
    assert not [t for t in texts if t.isidentifier() and (t in PLUGINS or t in FRONTENDS)]


@pytest.mark.parametrize("package", PLUGINS)
def test_plugins_use_public_names_of_the_core_only(package: str) -> None:
    files = [path for path in FILES[CORE] if not path.stem.startswith("_")]
    packages = [path.parent for path in FILES[CORE] if path.stem == "__init__"]
    public = {path.stem for path in (*files, *packages)}
    for path in FILES[package]:
        for module, name in imports(package, path):
            if not ours(module) or top(module) == package:
                continue
            assert top(module) == CORE, f"{path.name} imports {module}"
            parts = [*module.split(".")[1:], *([name] if name else [])]
            private = [part for part in parts if part.startswith("_") and part != "__version__"]
            assert not private, f"{path.name} imports {module}.{name}"
            assert not parts or parts[0] in public, f"{path.name} imports {module}.{name}"


@pytest.mark.parametrize("package", FRONTENDS)
def test_frontends_import_the_core_and_themselves_only(package: str) -> None:
    for path in FILES[package]:
        for module, name in imports(package, path):
            if ours(module):
                assert top(module) in (CORE, package), f"{path.name} imports {module}"
            if top(module) == CORE:
                assert not name.startswith("_"), f"{path.name} imports {module}.{name}"


@every_file
def test_what_is_imported_is_declared(package: str, path: Path) -> None:
    """By the distribution that the module is shipped in, extras included."""
    folder = PLUGINS.get(package, ROOT)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    needed = [*project.get("dependencies", []), *(one for extra in extras for one in extra)]
    names = {normal(need) for need in needed} | {normal(project["name"])}
    known = distributions()
    for module, _ in imports(package, path):
        name = top(module)
        if name in sys.stdlib_module_names or name == package:
            continue
        dists = {normal(dist) for dist in known.get(name, [name])}
        dists |= {"h2o-relay"} if name == CORE or name in FRONTENDS else set()
        assert dists & names, f"{path.name} imports {name}, which {project['name']} does not need"


@cache
def distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def normal(requirement: str) -> str:
    cut = next((i for i, c in enumerate(requirement) if not (c.isalnum() or c in "-_.")), None)
    return requirement[:cut].lower().replace("_", "-").replace(".", "-")


@every_file
def test_only_settings_reads_the_environment(package: str, path: Path) -> None:
    if path == ROOT / "core" / CORE / "settings.py":
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert not (node.value.id == "os" and node.attr in ENVIRONMENT), f"line {node.lineno}"
    assert not [name for module, name in imports(package, path) if module == "os"
                and name in ENVIRONMENT]  # fmt: skip


ENVIRONMENT = frozenset({"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"})


@every_file
def test_modules_are_short(package: str, path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= LONGER.get(path.name, MOST_LINES)


@every_file
def test_every_module_says_what_it_is(package: str, path: Path) -> None:
    if path.read_text(encoding="utf-8").strip():
        assert ast.get_docstring(tree(path))
