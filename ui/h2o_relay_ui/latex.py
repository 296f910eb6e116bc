r"""Inline formulas between single dollar signs, told apart from prices and shell variables.

The page draws what is between `$$`, `\(` and `\)`, `\[` and `\]`. Models also write `$x$`. A page
that took every dollar for the edge of a formula would swallow "from $5 to $10", so pandoc's rule
is used (its manual, `tex_math_dollars`): no space inside the edges, no digit behind the second.
"""

from __future__ import annotations

import re

DELIMITERS = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]
"""What the page's Markdown takes for formulas."""
LONGEST = 400  # characters of an inline formula
CODE = re.compile(
    r"(^ {0,3}(?P<fence>```+|~~~+).*?(?:^ {0,3}(?P=fence)[`~]*[ \t]*$|\Z)"
    r"|(?<!`)(?P<tick>`+)(?!`).*?(?<!`)(?P=tick)(?!`))",
    re.MULTILINE | re.DOTALL,
)
"""Fenced blocks, one that is not closed yet included, and spans of code."""
FORMULA = re.compile(
    rf"(?<![\\$\w])\$(?=[^\s$])(?P<inner>[^$\n]{{1,{LONGEST}}})(?<=[^\s\\$])\$(?![\w$])"
)
AMOUNT = re.compile(r"\d[^\\^_={}]*\s[^\\^_={}]*")


def with_formulas(text: str) -> str:
    r"""The text with `$x$` written `\(x\)`, outside of code."""
    if text.count("$") < 2:
        return text
    parts, at = [], 0
    for code in CODE.finditer(text):
        parts += [FORMULA.sub(_drawn, text[at : code.start()]), code.group()]
        at = code.end()
    return "".join([*parts, FORMULA.sub(_drawn, text[at:])])


def _drawn(found: re.Match[str]) -> str:
    inner = found["inner"]
    return found.group() if AMOUNT.fullmatch(inner) else f"\\({inner}\\)"
