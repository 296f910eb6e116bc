"""The paths below /admin (`admin.py` of the proxy)."""

from __future__ import annotations

from typing import Any

from h2o_relay import errors
from h2o_relay.accounting.dimensions import PARAMETERS

from .failures import BODY, EVERY, SERVERS, Kind
from .responses import ADMIN, EVENTS, STREAM, good, in_path, operation

Path = dict[str, Any]
STORED: tuple[Kind, ...] = (*EVERY, errors.StoreError)
WRITTEN: tuple[Kind, ...] = (*STORED, *BODY, errors.BadServerString, errors.PluginError)
ONE = in_path("id", "The id of an entry.", pattern="^[0-9A-Za-z]+$")
KEY = in_path("key", "The id or the name of a key.")
POOL = in_path("name", "The name of a pool.")
SECRETS: dict[str, Any] = {
    "name": "secrets",
    "in": "query",
    "description": "`true`: secrets as they are, and not masked.",
    "schema": {"type": "string"},
}


def _asked(name: str) -> dict[str, Any]:
    says = "See docs/usage.md."
    return {"name": name, "in": "query", "description": says, "schema": {"type": "string"}}


def _op(
    id: str, summary: str, answer: dict[str, Any], kinds: tuple[Kind, ...], **more: Any
) -> dict[str, Any]:
    return operation(id, summary, answer, kinds, security=ADMIN, tag="Administration", **more)


def paths() -> dict[str, Path]:
    return {**_deployments(), **_models(), **_pools(), **_keys(), **_relay()}


def _deployments() -> dict[str, Path]:
    events = {
        "200": {
            "description": "`Deployments`' `data`, whenever it changes.",
            "content": {EVENTS: {"schema": STREAM}},
        }
    }
    gone = (*STORED, errors.NotFound)
    return {
        "/admin/deployments": {
            "get": _op("listDeployments", "All models as they are.", good("Deployments"), EVERY),
            "post": _op(
                "addDeployment", "Serve what an entry of a model lock says.",
                good("Id", status="201"), WRITTEN, body="Entry",
            ),
        },
        "/admin/deployments/{id}": {
            "get": _op("showDeployment", "What an added one says.", good("Entry"), gone,
                       parameters=[ONE]),
            "patch": _op("changeDeployment", "Change some of its keys.", good("Nothing"),
                         (*WRITTEN, errors.NotFound), body="Entry", parameters=[ONE]),
            "delete": _op("removeDeployment", "Serve it no more.", good("Nothing"), gone,
                          parameters=[ONE]),
        },
        "/admin/changes": {
            "get": _op("watchDeployments", "The list, whenever it changes.", events, EVERY)
        },
        "/admin/identify": {
            "post": _op("identify", "Look at a server without adding it.", good("Found"),
                        WRITTEN, body="Entry")
        },
    }  # fmt: skip


def _models() -> dict[str, Path]:
    asked = (*EVERY, *BODY, *SERVERS)
    each = {
        "test": ("testModel", "Ask a model for one token.", "Tried"),
        "load": ("loadModel", "Into its server's memory.", "Nothing"),
        "unload": ("unloadModel", "Out of its server's memory.", "Nothing"),
        "route": ("explainRoute", "Who would answer now, and why.", "Route"),
    }
    return {
        f"/admin/{name}": {"post": _op(id, says, good(answer), asked, body="ModelName")}
        for name, (id, says, answer) in each.items()
    }


def _pools() -> dict[str, Path]:
    return {
        "/admin/pools": {
            "post": _op("putPool", "Make a pool, or change an added one.",
                        good("Name", status="201"), (*WRITTEN, errors.NotFound), body="PoolEntry")
        },
        "/admin/pools/{name}": {
            "delete": _op("removePool", "Serve an added pool no more.", good("Nothing"),
                          (*STORED, errors.NotFound), parameters=[POOL])
        },
    }  # fmt: skip


def _keys() -> dict[str, Path]:
    gone = (*STORED, errors.NotFound)
    written = (*STORED, *BODY)
    return {
        "/admin/keys": {
            "get": _op("listKeys", "All keys, revoked ones too.", good("Keys"), STORED),
            "post": _op("createKey", "A new key, which is told in this answer alone.",
                        good("NewKey", status="201"), written, body="KeyEntry"),
        },
        "/admin/keys/{key}": {
            "get": _op("showKey", "One key.", good("Key"), gone, parameters=[KEY]),
            "patch": _op("changeKey", "Change what the body names.", good("Key"),
                         (*written, errors.NotFound), body="KeyEntry", parameters=[KEY]),
            "delete": _op("revokeKey", "Revoke it, for good.", good("Key"), gone,
                          parameters=[KEY]),
        },
        "/admin/keys/{key}/rotate": {
            "post": _op("rotateKey", "Another key in its place.", good("NewKey"),
                        (*written, errors.NotFound), body="Rotation", parameters=[KEY])
        },
    }  # fmt: skip


def _relay() -> dict[str, Path]:
    return {
        "/admin/config": {
            "get": _op("exportConfig", "What is served, as a configuration file.", good("Yaml"),
                       EVERY, parameters=[SECRETS])
        },
        "/admin/config/reload": {
            "post": _op("reloadConfig", "Read the configuration file again.", good("Change"),
                        (*STORED, errors.BadServerString, errors.PluginError))
        },
        "/admin/usage": {
            "get": _op("usage", "What requests used and have cost.", good("UsageReport"), STORED,
                       parameters=[_asked(name) for name in PARAMETERS])
        },
        "/admin/series": {
            "get": _op("series", "The last ten minutes of every model.", good("Series"), EVERY)
        },
        "/admin/trouble": {
            "get": _op("trouble", "What is wrong with the relay itself, and what to do.",
                       good("Troubles"), EVERY)
        },
        "/admin/system": {
            "get": _op("system", "Versions, plugins, settings, the log.", good("System"), EVERY)
        },
    }  # fmt: skip
