"""The JSON Schema of the configuration file, for editors; made of what reads the file.

The dialect is 2020-12. It says of a single value what the reader says of it. What only the reader
can tell: whether a server string can be read, whether names that belong together agree, whether a
variable is set.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, Final

from .. import settings as table
from ..accounting.prices import CURRENCY
from ..h2ogpt import flags
from ..lock import keys, sampling, tuning
from ..pools import MOST, OF_ONE, READERS, STRATEGIES, PoolSpec
from . import prices as costs
from . import setting_values as values
from .entry_help import meaning
from .reading import NAME, SECTIONS
from .references import WHOLE
from .sections import ENTRY_SWITCHES, VISIBLE

Schema = dict[str, Any]
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
REFERENCE: Final[Schema] = {"$ref": "#/$defs/reference"}
NOTHING: Final[Schema] = {"type": "null"}
LINE: Final[Schema] = {"type": ["string", "null"]}


def schema() -> Schema:
    """The schema of a whole file."""
    parts = {"settings": _settings(), "models": _models(), "pools": _pools(),
             "prices": _prices()}  # fmt: skip
    return {
        "$schema": DIALECT,
        "title": NAME,
        "description": "The configuration of an h2o relay.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {name: parts[name] | {"description": SECTIONS[name]} for name in SECTIONS},
        "$defs": {
            "reference": {
                "type": "string",
                "pattern": f"^{WHOLE.pattern}$",
                "description": "An environment variable, perhaps with a default.",
            }
        },
    }


def _settings() -> Schema:
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {name: _setting(name) for name in values.names()},
    }


def _setting(name: str) -> Schema:
    item = table.about(name)
    about: Schema = {"description": item.metadata["help"]}
    default = table.default(name)
    if default is not None and not values.is_secret(name):
        about["default"] = default
    return about | {"anyOf": [*_forms(name), NOTHING]}


def _forms(name: str) -> list[Schema]:
    """The forms in which a setting's value may be written."""
    item, wanted = table.about(name), table.kind(name)
    limits = _limits(item.metadata["low"], item.metadata["high"])
    if wanted is bool:
        return [{"type": "boolean"}, {"enum": [*values.SWITCHES, *_spelled("none")]}, REFERENCE]
    if wanted in (int, float):
        number: Schema = {"type": "integer" if wanted is int else "number"} | limits
        forms: list[Schema] = [number, {"enum": _spelled("none")}, REFERENCE]
        if item.metadata["unit"] == "bytes":
            forms.append({"type": "string", "pattern": values.SIZE})
        return forms
    if item.metadata["choices"]:
        return [{"enum": [*item.metadata["choices"], *_spelled("none")]}, REFERENCE]
    texts: list[Schema] = [{"type": "string"}]
    if name in values.LITERALS:
        texts.append({"type": "array" if values.LITERALS[name] is list else "object"})
    if name in values.COMMAS:
        texts.append({"type": "array", "items": {"type": ["string", "integer"]}})
    return texts


def _spelled(word: str) -> list[str]:
    return [word, word.capitalize(), word.upper()]


def _limits(low: float | None, high: float | None) -> Schema:
    found: Schema = {}
    if low is not None:
        found["minimum"] = low
    if high is not None:
        found["maximum"] = high
    return found


def _models() -> Schema:
    known = sorted(keys.OWN | {VISIBLE}) + sorted(flags.lock_keys() - keys.OWN)
    some = {"type": "string", "minLength": 1}
    entry: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: _entry_key(key) for key in known},
        "anyOf": [
            {"required": [key], "properties": {key: some}}
            for key in ("inference_server", "base_model")
        ],
        "dependentRequired": {"display_name": ["base_model"]},
    }
    return {"type": ["array", "null"], "items": entry}


def _entry_key(key: str) -> Schema:
    about: Schema = {"description": meaning(key)}
    if key not in keys.OWN and key != VISIBLE:
        return about | {"deprecated": True}
    return about | _entry_form(key)


def _entry_form(key: str) -> Schema:
    if key in tuning.COUNTS:
        number = {"type": "integer", "minimum": 1}
        digits = {"type": "string", "pattern": r"^\s*0*[1-9][0-9]*\s*$"}
        return {"anyOf": [number, digits, REFERENCE, NOTHING]}
    if key in sampling.NUMBERS:
        low, high = sampling.NUMBERS[key]
        return {"anyOf": [{"type": "number"} | _limits(low, high), REFERENCE, NOTHING]}
    if key in sampling.WHOLE:
        return {"anyOf": [{"type": "integer"}, REFERENCE, NOTHING]}
    if key in ENTRY_SWITCHES:
        also = [] if key == VISIBLE else [NOTHING]
        return {"anyOf": [{"type": "boolean"}, REFERENCE, *also]}
    if key == "stop":
        text = {"type": "string", "minLength": 1}
        return {"anyOf": [text, {"type": "array", "items": text}, NOTHING]}
    if key == "response_format":
        return {
            "anyOf": [{"enum": ["text", "json_object"]}, {"type": "object"}, REFERENCE, NOTHING]
        }
    if key == "prompt_type":
        return {"type": ["string", "integer", "null"]}
    if key == "prompt_dict":
        return {"type": ["object", "string", "null"]}
    if key == "visible_models":
        one = ["string", "integer", "null"]
        return {"type": [*one, "array"], "items": {"type": one}}
    return {} if key in sampling.GUIDED else LINE


def _pools() -> Schema:
    pool: Schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["members"],
        "properties": {
            item.name: _pool_key(item) for item in fields(PoolSpec) if item.name in READERS
        },
        "allOf": [_of_one(key, strategy) for key, strategy in OF_ONE.items()],
    }
    return {"type": ["object", "null"], "additionalProperties": pool}


def _of_one(key: str, strategy: str) -> Schema:
    """A key that only one strategy has."""
    given = {"required": [key], "properties": {key: {"not": {"enum": [None, {}]}}}}
    then = {"required": ["strategy"], "properties": {"strategy": {"const": strategy}}}
    return {"if": given, "then": then}


def _pool_key(item: Any) -> Schema:
    about: Schema = {"description": item.metadata["help"].replace("`", "")}
    if item.default is not MISSING and item.default is not None:
        about["default"] = item.default
    return about | _pool_form(item.name)


def _pool_form(name: str) -> Schema:
    member = {"anyOf": [{"type": "string", "pattern": r"\S"}, {"type": "integer", "minimum": 0}]}
    several = {"type": "array", "items": member, "minItems": 1, "uniqueItems": True}
    forms: dict[str, Schema] = {
        "members": {"anyOf": [several, {"type": "string", "pattern": r"[^,\s]"}]},
        "strategy": {"enum": list(STRATEGIES)},
        "weights": {"type": "object", "additionalProperties": {
            "anyOf": [{"type": "number", "minimum": 0, "maximum": MOST}, REFERENCE]}},
        "spill_over": {"anyOf": [_count(1), REFERENCE, NOTHING]},
        "queue": {"anyOf": [_count(0), REFERENCE]},
        "resume": {"anyOf": [{"type": "boolean"}, REFERENCE]},
        "fallback": {"anyOf": [{"type": "string", "pattern": r"^$|\S"}, NOTHING]},
    }  # fmt: skip
    return forms[name]


def _count(least: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": MOST}


def _prices() -> Schema:
    number: Schema = {"type": "number", "minimum": 0, "maximum": costs.MOST}
    price: Schema = {
        "type": "object",
        "additionalProperties": False,
        "required": list(costs.NEEDED),
        "properties": {
            key: {"description": says}
            | {"anyOf": [number, REFERENCE, *([] if key in costs.NEEDED else [NOTHING])]}
            for key, says in costs.HELP.items()
        },
    }
    models: Schema = {
        "description": "Prices by the names of models and pools, where * stands for any text.",
        "type": ["object", "null"],
        "propertyNames": {"pattern": r"\S"},
        "additionalProperties": price,
    }
    currency: Schema = {
        "description": "In which all prices are.",
        "default": CURRENCY,
        "anyOf": [{"type": "string", "pattern": f"^{costs.CURRENCIES}$"}, REFERENCE],
    }
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {"currency": currency, "models": models},
    }
