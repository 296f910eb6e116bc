"""The fields of Ollama's published API, by name and type: docs/openapi.yaml of its repository.

`truncate` and `shift` of requests, `id` and `index` of calls, `tool_name` and `tool_call_id` are
from its api/types.go, which is ahead of the document there.
"""

from __future__ import annotations

from typing import Any

TEXT, NUMBER, WHOLE, YES = (str,), (int, float), (int,), (bool,)
TEXTS, OBJECT = [TEXT], (dict,)

OPTIONS: dict[str, Any] = {
    "seed": WHOLE,
    "temperature": NUMBER,
    "top_k": WHOLE,
    "top_p": NUMBER,
    "min_p": NUMBER,
    "stop": TEXTS,
    "num_ctx": WHOLE,
    "num_predict": WHOLE,
    # additionalProperties; these are docs/api.md's
    "typical_p": NUMBER,
    "repeat_last_n": WHOLE,
    "repeat_penalty": NUMBER,
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
}
CALL = {"id": TEXT, "function": {"index": WHOLE, "name": TEXT, "arguments": OBJECT}}
TOOL = {"type": TEXT, "function": {"name": TEXT, "description": TEXT, "parameters": OBJECT}}
MESSAGE = {
    "role": TEXT,
    "content": TEXT,
    "thinking": TEXT,
    "images": TEXTS,
    "tool_calls": [CALL],
    "tool_name": TEXT,
    "tool_call_id": TEXT,
}
ASKED = {
    "model": TEXT,
    "format": (str, dict),
    "options": OPTIONS,
    "stream": YES,
    "think": (bool, str),
    "keep_alive": (str, int, float),
    "logprobs": YES,
    "top_logprobs": WHOLE,
    "truncate": YES,
    "shift": YES,
}
CHAT_REQUEST = {**ASKED, "messages": [MESSAGE], "tools": [TOOL]}
GENERATE_REQUEST = {
    **ASKED,
    "prompt": TEXT,
    "suffix": TEXT,
    "images": TEXTS,
    "system": TEXT,
    "raw": YES,
}
EMBED_REQUEST = {
    "model": TEXT,
    "input": (str, list),
    "truncate": YES,
    "dimensions": WHOLE,
    "keep_alive": (str, int, float),
    "options": OPTIONS,
}
SHOW_REQUEST = {"model": TEXT, "verbose": YES}

TOKEN = {"token": TEXT, "logprob": NUMBER, "bytes": [WHOLE]}
SAID = {
    "model": TEXT,
    "created_at": TEXT,
    "done": YES,
    "done_reason": TEXT,
    "total_duration": WHOLE,
    "load_duration": WHOLE,
    "prompt_eval_count": WHOLE,
    "prompt_eval_duration": WHOLE,
    "eval_count": WHOLE,
    "eval_duration": WHOLE,
    "logprobs": [{**TOKEN, "top_logprobs": [TOKEN]}],
}
CHAT_RESPONSE = {**SAID, "message": MESSAGE}
GENERATE_RESPONSE = {**SAID, "response": TEXT, "thinking": TEXT}
EMBED_RESPONSE = {
    "model": TEXT,
    "embeddings": [[NUMBER]],
    "total_duration": WHOLE,
    "load_duration": WHOLE,
    "prompt_eval_count": WHOLE,
}
DETAILS = {
    "parent_model": TEXT,
    "format": TEXT,
    "family": TEXT,
    "families": TEXTS,
    "parameter_size": TEXT,
    "quantization_level": TEXT,
}
LISTED = {"name": TEXT, "model": TEXT, "size": WHOLE, "digest": TEXT, "details": DETAILS}
TAGS_RESPONSE = {"models": [{**LISTED, "modified_at": TEXT}]}
PS_RESPONSE = {
    "models": [{**LISTED, "expires_at": TEXT, "size_vram": WHOLE, "context_length": WHOLE}]
}
SHOW_RESPONSE = {
    "parameters": TEXT,
    "license": TEXT,
    "modified_at": TEXT,
    "details": DETAILS,
    "template": TEXT,
    "capabilities": TEXTS,
    "model_info": OBJECT,
}
VERSION_RESPONSE = {"version": TEXT}
ERROR_RESPONSE = {"error": TEXT}


def wrong(value: Any, fields: Any, path: str = "") -> str | None:
    """What of `value` is not as `fields` say: a name that is not there, a type that differs."""
    if isinstance(fields, dict):
        if not isinstance(value, dict):
            return f"{path} is no object"
        unknown = sorted(set(value) - set(fields))
        if unknown:
            return f"{path}.{unknown[0]} is not documented"
        found = (wrong(item, fields[name], f"{path}.{name}") for name, item in value.items())
        return next(filter(None, found), None)
    if isinstance(fields, list):
        if not isinstance(value, list):
            return f"{path} is no list"
        found = (wrong(item, fields[0], f"{path}[{n}]") for n, item in enumerate(value))
        return next(filter(None, found), None)
    right = isinstance(value, fields) and (bool in fields or not isinstance(value, bool))
    return None if right else f"{path} is {type(value).__name__}"
