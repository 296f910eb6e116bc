"""The paths below /v1, and the two that say how the relay is doing."""

from __future__ import annotations

from typing import Any

from h2o_relay.errors import ModelNotFound, NotFound, UnknownURL, UpstreamUnavailable

from .failures import BODY, EVERY, SERVERS
from .failures import OPEN as UNKEYED
from .responses import ANY, OPEN, SESSION, STRICT, good, in_path, operation

ASKING = (*EVERY, *BODY, *SERVERS)
"""Of a request with a body that a server answers."""
PASSED_ON = (*ASKING, UnknownURL)
"""The same where its server may not have the path."""
ASKED = (SESSION, STRICT)
AS_ANTHROPIC: dict[str, Any] = {
    "name": "anthropic-version",
    "in": "header",
    "description": "With it models are listed as Anthropic's API does.",
    "schema": {"type": "string"},
}
Path = dict[str, Any]


def paths() -> dict[str, Path]:
    return {**_generating(), **_dialects(), **_models(), **_forwarded(), **_health()}


def _generating() -> dict[str, Path]:
    return {
        "/v1/chat/completions": {
            "post": operation(
                "createChatCompletion", "Answer a conversation.",
                good("ChatCompletion", streams=True, told=True), ASKING,
                body="ChatRequest", parameters=ASKED,
            )
        },
        "/v1/completions": {
            "post": operation(
                "createCompletion", "Go on with a text.",
                good("Completion", streams=True, told=True), ASKING,
                body="CompletionRequest", parameters=ASKED,
            )
        },
    }  # fmt: skip


def _dialects() -> dict[str, Path]:
    return {
        "/v1/responses": {
            "post": operation(
                "createResponse", "OpenAI's Responses API, on any server.",
                good("Response", streams=True, told=True), ASKING,
                body="ResponsesRequest", parameters=ASKED,
            )
        },
        "/v1/responses/input_tokens": {
            "post": operation(
                "countResponseTokens", "How many tokens a response's input has.",
                good("TokenCount", told=True), ASKING,
                body="ResponsesRequest", parameters=(STRICT,),
            )
        },
        **_kept(),
        "/v1/messages": {
            "post": operation(
                "createMessage", "Anthropic's Messages API, on any server.",
                good("Message", streams=True, told=True), ASKING,
                body="MessagesRequest", parameters=ASKED, errors="AnthropicError",
            )
        },
        "/v1/messages/count_tokens": {
            "post": operation(
                "countMessageTokens", "How many tokens a message would have.",
                good("TokenCount", told=True), ASKING,
                body="CountTokensRequest", parameters=(STRICT,), errors="AnthropicError",
            )
        },
    }  # fmt: skip


def _kept() -> dict[str, Path]:
    """Responses that were kept, their callers' own."""
    one = [in_path("response_id", "The id of a response that was kept.")]
    kinds = (*EVERY, NotFound)
    base = "/v1/responses/{response_id}"

    def op(id: str, summary: str, answer: str) -> Path:
        return operation(id, summary, good(answer), kinds, parameters=one)

    return {
        base: {
            "get": op("retrieveResponse", "A response again.", "Response"),
            "delete": op("deleteResponse", "Keep it no longer.", "Deleted"),
        },
        f"{base}/input_items": {
            "get": op("listInputItems", "What was asked.", "InputItems"),
        },
        f"{base}/cancel": {
            "post": op("cancelResponse", "Refused: no response runs by itself.", "Response"),
        },
    }


def _models() -> dict[str, Path]:
    return {
        "/v1/models": {
            "get": operation(
                "listModels", "The models that can be asked.", good("Models", "AnthropicModels"),
                EVERY, parameters=[AS_ANTHROPIC], errors="EitherError",
            )
        },
        "/v1/models/{model}": {
            "get": operation(
                "retrieveModel", "One model.", good("Model", "AnthropicModel"),
                (*EVERY, ModelNotFound),
                parameters=[
                    AS_ANTHROPIC,
                    in_path("model", "Its name, in which slashes may stand as they are."),
                ],
                errors="EitherError",
            )
        },
    }  # fmt: skip


FORWARDED: tuple[tuple[str, str, str, str, str | None], ...] = (
    ("embeddings", "createEmbedding", "Embeddings of texts.", "EmbeddingsRequest", "Embeddings"),
    ("rerank", "rerank", "Documents by how well they fit a query.", "RerankRequest", "Ranking"),
    ("score", "score", "How alike texts are.", "ScoreRequest", "Scores"),
    ("moderations", "createModeration", "What is wrong with a text.", "ModerationsRequest",
     "Moderations"),
    ("chat/completions/input_tokens", "countInputTokens", "How many tokens a conversation has.",
     "ChatRequest", "TokenCount"),
    ("tokenize", "tokenize", "The tokens of a text.", "TokenizeRequest", "Tokens"),
    ("detokenize", "detokenize", "The text of tokens.", "DetokenizeRequest", "Detokenized"),
    ("audio/speech", "createSpeech", "Speech of a text.", "SpeechRequest", None),
    ("audio/transcriptions", "createTranscription", "The text of speech.", "AudioForm", ANY),
    ("audio/translations", "createTranslation", "Speech in English.", "AudioForm", ANY),
    ("images/generations", "createImage", "Images of a text.", "ImagesRequest", "Images"),
    ("images/edits", "createImageEdit", "An image, changed.", "ImageForm", "Images"),
    ("images/variations", "createImageVariation", "Others like it.", "ImageForm", "Images"),
)  # fmt: skip
"""What the model's server answers itself, if it has the path: body and answer by their schemas;
without one the answer may be of any type.
"""


def _forwarded() -> dict[str, Path]:
    return {
        f"/v1/{path}": {
            "post": operation(
                id, summary,
                good(kind=ANY, told=True) if answer in (None, ANY) else good(answer, told=True),
                PASSED_ON, body=body, form=body.endswith("Form"), parameters=ASKED,
            )
        }
        for path, id, summary, body, answer in FORWARDED
    }  # fmt: skip


def _health() -> dict[str, Path]:
    return {
        "/health": {
            "get": operation(
                "health", "Whether the process lives.", good("Health"), UNKEYED,
                security=OPEN, tag="Health",
            )
        },
        "/readyz": {
            "get": operation(
                "ready", "Whether a model can answer.", good("Readiness"),
                (*UNKEYED, UpstreamUnavailable), security=OPEN, tag="Health",
            )
        },
        "/metrics": {
            "get": operation(
                "metrics", "For Prometheus, unless `--no-metrics`.",
                good("Metrics", kind="text/plain"), (*EVERY, UnknownURL), tag="Health",
            )
        },
    }  # fmt: skip
