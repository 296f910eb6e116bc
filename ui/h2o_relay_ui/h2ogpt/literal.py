"""The text of a Python literal or of a JSON document, read without running or trusting it.

Only texts, numbers, None, True, False and their containers are read, all with bounds: a byte of
brackets becomes a hundred bytes of objects.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

import orjson

from h2o_relay.errors import InvalidRequest

SIZE_LIMIT = 4 * 2**20  # characters
BARE_LIMIT = 2**17  # characters outside quotes
# An open quote takes the rest, so that no text makes the search start over and over.
TEXTS = re.compile(
    r"'''(?:[^'\\]|\\.|'(?!''))*+(?:''')?"
    r'|"""(?:[^"\\]|\\.|"(?!""))*+(?:""")?'
    r"|'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+'?"
    r'|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"?',
    re.DOTALL,
)
WORD = re.compile(r"\b[^\W\d]\w*|#")
WORDS = frozenset({"None", "True", "False"})


def read(text: str) -> Any:
    """The value of a text. Raises InvalidRequest for one that is neither, or over the limits."""
    if len(text) > SIZE_LIMIT:
        raise InvalidRequest(f"the argument is longer than {SIZE_LIMIT} characters")
    bare = TEXTS.sub(" ", text)
    if len(bare) > BARE_LIMIT:
        raise InvalidRequest(f"the argument has more than {BARE_LIMIT} characters outside quotes")
    # A prefix such as f would make a program of the text that follows it.
    if WORDS.issuperset(WORD.findall(bare)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an odd escape is the writer's business
                return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            pass
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidRequest("the argument is neither a Python literal nor JSON") from None
