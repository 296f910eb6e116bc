"""Write the parts of the documentation that are made from the code.

    python docs/generate.py            write them
    python docs/generate.py --check    exit 1 if one is not up to date

A generated part stands between two comment lines, `<!-- generated: NAME -->` and `<!-- end -->`.
`openapi.json` is generated as a whole.
"""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import fields
from functools import partial
from importlib import import_module
from pathlib import Path

from h2o_relay import errors, hookspecs, settings

HERE = Path(__file__).parent
MATRICES = ("chat", "text", "responses", "messages", "paths")
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def error_table() -> str:
    """Every class of the tree with what it is answered as."""
    rows = ["| class | status | type | code | when |", "| --- | ---: | --- | --- | --- |"]
    for cls in errors.error_tree():
        if cls.__module__ != errors.__name__:  # whether it is there depends on what is imported
            continue
        status = "the upstream's" if cls is errors.UpstreamRejected else str(cls.status)
        code = f"`{cls.code}`" if cls.code else "the upstream's"
        when = (
            (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ") if cls.__doc__ else ""
        )
        rows.append(f"| `{cls.__name__}` | {status} | `{cls.type}` | {code} | {when} |")
    return "\n".join(rows)


def setting_table() -> str:
    """Every setting with its flag, variables, default and meaning."""
    rows = ["| setting | variables | default | meaning |", "| --- | --- | --- | --- |"]
    for item in fields(settings.Settings):
        flag = f"`--{item.name.replace('_', '-')}`"
        names = ", ".join(f"`{name}`" for name in settings.env_names(item.name))
        unit = item.metadata["unit"]
        value = "" if item.default in (None, "") else f"`{item.default}` {unit}".rstrip()
        if item.name == "openai_port":
            value = "`5000`; `5001` on macOS"
        rows.append(f"| {flag} | {names} | {value} | {item.metadata['help']} |")
    return "\n".join(rows)


def hook_reference() -> str:
    """Every hook with its signature and its docstring."""
    parts = []
    for name in hookspecs.HOOKS:
        hook = getattr(hookspecs, name)
        names = ", ".join(inspect.signature(hook).parameters)
        kind = "async def" if inspect.iscoroutinefunction(hook) else "def"
        signature = str(inspect.signature(hook)).replace("'", "")
        code = f"```python\n{kind} {name}{signature}\n```"
        parts.append(f"### {name}({names})\n\n{code}\n\n{inspect.getdoc(hook)}")
    return "\n\n".join(parts)


def capability_matrix() -> str:
    """What our plugins declare, over the server strings that their suites document."""
    from h2o_relay.commands.plugin_kit import declare
    from h2o_relay.commands.plugin_matrix import markdown
    from h2o_relay.plugins import Plugins

    folders = (HERE.parent / "plugins").glob("*/pyproject.toml")
    infos = Plugins.discover(",".join(path.parent.name for path in folders)).infos()
    results = declare(infos, limit=120)
    problems = [f"{r.info.name}: {r.problem or r.info.error}" for r in results if not r.declared]
    if problems:
        sys.exit("\n".join(problems))
    return markdown(results)


def check_table() -> str:
    """The conformance kit's checks, each with its tests."""
    from h2o_relay.testing.suite.checks import CHECKS

    rows = ["| check | tests |", "| --- | --- |"]
    for check, tests in CHECKS.items():
        said = "; ".join(test.removeprefix("test_").replace("_", " ") for test in tests)
        rows.append(f"| {check} | {said} |")
    return "\n".join(rows)


def bench_table() -> str:
    """The test bench's models."""
    from h2o_relay.testing.bench import BEHAVIOURS

    rows = ["| model | options and defaults | what it does |", "| --- | --- | --- |"]
    for found in BEHAVIOURS.values():
        shown = found.options_shown.strip("[]").replace("|", "\\|")
        options = " ".join(f"`{option}`" for option in shown.split())
        rows.append(f"| `{found.name}` | {options} | {found.summary} |")
    return "\n".join(rows)


def entry_table() -> str:
    """The keys of an entry of the configuration file's models."""
    from h2o_relay.config.entry_help import ENTRY_HELP

    rows = ["| key | meaning |", "| --- | --- |"]
    return "\n".join([*rows, *(f"| `{key}` | {says} |" for key, says in ENTRY_HELP.items())])


def pool_table() -> str:
    """The keys of a pool of the configuration file."""
    from h2o_relay.pools import READERS, PoolSpec

    rows = ["| key | default | meaning |", "| --- | --- | --- |"]
    for item in fields(PoolSpec):
        if item.name in READERS:
            known = isinstance(item.default, str | int)
            value = f"`{str(item.default).lower()}`" if known else ""
            rows.append(f"| `{item.name}` | {value} | {item.metadata['help']} |")
    return "\n".join(rows)


def matrix(table: str) -> str:
    """What becomes of requests, a table for each dialect and one for other paths. Measured by
    tests/matrix, which is found from the repository's root.
    """
    sys.path.append(str(HERE.parent))
    tables = import_module("tests.matrix.page").tables()
    return str(tables[table])


PARTS = {
    "entries": entry_table,
    "pools": pool_table,
    "errors": error_table,
    "settings": setting_table,
    "hooks": hook_reference,
    "capabilities": capability_matrix,
    "checks": check_table,
    "bench": bench_table,
    **{f"matrix_{name}": partial(matrix, name) for name in MATRICES},
}


def generated(text: str) -> str:
    """A page with its generated parts made anew."""
    return PART.sub(lambda m: f"{m[1]}\n{PARTS[m[2]]()}\n\n{m[3]}", text)


def openapi() -> str:
    """The API's description, a line for each value so that changes can be read."""
    import orjson

    from h2o_relay_proxy.openapi import document

    return orjson.dumps(document(), option=orjson.OPT_INDENT_2).decode() + "\n"


def main() -> int:
    stale = []
    described, written = HERE / "openapi.json", openapi()
    if not described.exists() or described.read_text(encoding="utf-8") != written:
        stale.append(described.name)
        if "--check" not in sys.argv:
            described.write_text(written, encoding="utf-8")
    for page in sorted(HERE.glob("*.md")):
        old = page.read_text(encoding="utf-8")
        new = generated(old)
        if new != old:
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(new, encoding="utf-8")
    if stale:
        print(("not up to date: " if "--check" in sys.argv else "written: ") + ", ".join(stale))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
