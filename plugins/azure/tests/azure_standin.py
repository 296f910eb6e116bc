"""A stand-in for an Azure OpenAI resource, made of its published behaviour.

Routes, the required `api-version` and the shapes of answers and errors are those of Azure's
data-plane inference specification, stable 2024-10-21 (`inference.json`): `errorResponse` with its
inner error, `prompt_filter_results` beside the choices and `content_filter_results` in them. The
first event of a stream, without choices, and the late event without a delta are as Azure documents
its content filter for streams; the models are those of the authoring specification of that date.
test_azure_official_client.py holds it against Azure's own client, test_azure_published.py against
both specifications.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from h2o_relay.testing import ScriptedUpstream
from h2o_relay.testing.scripts import Play, hang, json, sse
from h2o_relay.testing.upstream import Answer, Received

KEY = "0123456789abcdef0123456789abcdef"
CHAT, COMPLETING, EMBEDDING = "my chat/model", "my-davinci", "my-embeddings"
VERSIONS = {"2023-05-15", "2024-07-01-preview", "2024-10-21"}
PIECES = ("Ahoy", ", wörld ", "\U0001f99c")
TEXT = "".join(PIECES)
MODEL = "gpt-4o-2024-08-06"
SAFE = {
    name: {"filtered": False, "severity": "safe"}
    for name in ("hate", "self_harm", "sexual", "violence")
}
PROMPT_SAFE = {**SAFE, "jailbreak": {"filtered": False, "detected": False}}
PROMPT_RESULTS = [{"prompt_index": 0, "content_filter_results": PROMPT_SAFE}]
VIOLENT = {**SAFE, "violence": {"filtered": True, "severity": "high"}}
DEPLOYED = re.compile(r"/openai/deployments/([^/]+)(/.+)")
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def error(status: int, code: str, message: str, /, **more: Any) -> Play:
    return json({"error": {"code": code, "message": message, **more}}, status)


FILTERED = error(
    400, "content_filter", "The prompt was stopped by the content filter.", type=None,
    param="prompt", status=400,
    innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": VIOLENT},
)  # fmt: skip
"""As the service sends it."""
FILTERED_AS_PUBLISHED = error(
    400, "content_filter", "The prompt was stopped by the content filter.", param="prompt",
    inner_error={"code": "ResponsibleAIPolicyViolation", "content_filter_results": VIOLENT},
)  # fmt: skip
"""As the specification has it: other names, and no `type` and `status`."""
MODELS = {
    "object": "list",
    "data": [
        {
            "id": MODEL, "object": "model", "status": "succeeded", "created_at": 1722902400,
            "lifecycle_status": "generally-available", "deprecation": {"inference": 1785974400},
            "capabilities": {
                "fine_tune": False, "inference": True, "completion": False,
                "chat_completion": True, "embeddings": False,
            },
        }
    ],
}  # fmt: skip
MOST_STOPS = 4


@dataclass
class AzureStandIn:
    """Answers as a resource with three deployments would."""

    tokens: set[str] = field(default_factory=set)
    """Bearer tokens that it takes, beside its key."""
    stuck: bool = False
    """Streams stop after their first pieces and stay open."""
    filtered: Play = FILTERED
    """What a prompt with something forbidden in it is answered."""

    async def __call__(self, request: Received, answer: Answer) -> None:
        await self.reply(request)(request, answer)

    def reply(self, request: Received) -> Play:
        parts = urlsplit(request.path)
        version = parse_qs(parts.query).get("api-version", [""])[0]
        if not self._may(request):
            return error(401, "401", "The subscription key or the token is not valid.")
        if parts.path.startswith("/openai/v1/"):
            path = parts.path.removeprefix("/openai/v1")
            if path == "/models":
                return json({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
            if version not in ("", "preview", "latest"):
                return error(400, "BadRequest", "This API takes no dated version.")
            return self._deployed(request, str(request.json().get("model")), path)
        if version not in VERSIONS:
            return error(404, "404", "There is no such resource.")
        if parts.path == "/openai/models":
            return json(MODELS)
        match = DEPLOYED.fullmatch(parts.path)
        if match is None or request.method != "POST":
            return error(404, "404", "There is no such resource.")
        return self._deployed(request, unquote(match[1]), match[2])

    def _may(self, request: Received) -> bool:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return request.headers.get("api-key") == KEY or (kind == "Bearer" and token in self.tokens)

    def _deployed(self, request: Received, deployment: str, path: str) -> Play:
        kinds = {CHAT: "/chat/completions", COMPLETING: "/completions", EMBEDDING: "/embeddings"}
        if deployment not in kinds:
            return error(404, "DeploymentNotFound", "This resource has no such deployment.")
        if path != kinds[deployment]:
            return error(400, "OperationNotSupported", f"{path} does not work with this model.")
        params = request.json()
        if "forbidden" in str(params.get("messages", params.get("prompt"))):
            return self.filtered
        stop = params.get("stop")
        if isinstance(stop, list) and len(stop) > MOST_STOPS:
            return error(400, "BadRequest", f"'stop' takes {MOST_STOPS} sequences at most.")
        if path == "/embeddings":
            return json(embeddings())
        chat = path == "/chat/completions"
        if not params.get("stream"):
            return json(whole(chat))
        usage = bool((params.get("stream_options") or {}).get("include_usage"))
        play = sse([orjson.dumps(event) for event in events(chat, usage)])
        return play.upto(2) + Play((hang,)) if self.stuck else play


def embeddings() -> dict[str, Any]:
    vector = {"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}
    usage = {"prompt_tokens": 2, "total_tokens": 2}
    return {"object": "list", "model": "ada", "data": [vector], "usage": usage}


def named(chat: bool, streamed: bool) -> dict[str, Any]:
    kind = ("chat.completion.chunk" if streamed else "chat.completion") if chat else ""
    return {
        "id": "chatcmpl-7R1n" if chat else "cmpl-4509",
        "object": kind or "text_completion",
        "created": 1686676106,
        "model": MODEL,
    }


def choice(**more: Any) -> dict[str, Any]:
    return {"index": 0, "logprobs": None, "finish_reason": None, **more}


def whole(chat: bool) -> dict[str, Any]:
    said: dict[str, Any] = (
        {"message": {"role": "assistant", "content": TEXT, "refusal": None}}
        if chat
        else {"text": TEXT}
    )
    return {
        **named(chat, streamed=False),
        "choices": [choice(**said, finish_reason="stop", content_filter_results=SAFE)],
        "prompt_filter_results": PROMPT_RESULTS,
        "usage": USAGE,
    }


def events(chat: bool, usage: bool) -> list[dict[str, Any]]:
    """A stream's events: the prompt's filter results, the text, its end, what the filter found."""
    name = named(chat, streamed=True)
    blank = {"id": "", "object": "", "created": 0, "model": ""}
    said = [{"delta": {"content": p}} if chat else {"text": p} for p in PIECES]
    if chat:
        said.insert(0, {"delta": {"role": "assistant", "content": "", "refusal": None}})
    last: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
    offsets = {"check_offset": 24, "start_offset": 24, "end_offset": 38}
    late = {"content_filter_results": SAFE, "content_filter_offsets": offsets}
    found = [
        {**blank, "choices": [], "prompt_filter_results": PROMPT_RESULTS},
        *({**name, "choices": [choice(**s, content_filter_results={})]} for s in said),
        {**name, "choices": [choice(**last, finish_reason="stop", content_filter_results={})]},
    ]
    if chat:
        found.append({**blank, "choices": [{"index": 0, "finish_reason": None, **late}]})
    if usage:
        found.append({**name, "choices": [], "usage": USAGE})
    return found


def standing(script: AzureStandIn | None = None) -> ScriptedUpstream:
    """The stand-in as a server, to be entered."""
    return ScriptedUpstream(script or AzureStandIn())
