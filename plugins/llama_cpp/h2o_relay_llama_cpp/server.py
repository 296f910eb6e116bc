"""The child process: llama.cpp's HTTP server on 127.0.0.1.

    python -m h2o_relay_llama_cpp.server --model FILE --alias NAME --port N --ctx N --slots N

The first line of standard input is the key that requests must carry; `/health` needs none. The
process ends with SIGTERM, and when standard input ends.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from h2o_relay.engines import exit_with_parent

from . import cpus, metadata
from .templates import template_for

ERRORS_ONLY = 1  # llama.cpp's log levels; 3 would tell of every request
PROMPT_CACHE = 256  # MiB for prompts of slots that were given to others; llama.cpp takes 8192


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="h2o_relay_llama_cpp.server", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    parser.add_argument("--alias", required=True, help="public name of the model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ctx", type=int, required=True, help="tokens of context of each slot")
    parser.add_argument("--slots", type=int, required=True, help="requests at the same time")
    parser.add_argument("--threads", type=int, default=None)
    return parser.parse_args(argv)


def parameters(args: argparse.Namespace, key: str) -> Any:
    """xllamacpp's CommonParams, which are llama.cpp's `common_params`."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(args.model)
    params.model_alias = {args.alias}
    params.port = args.port
    params.hostnames = ["127.0.0.1"]
    params.api_keys = [key]
    # llama.cpp divides n_ctx among the slots.
    params.n_ctx = args.ctx * args.slots
    params.n_parallel = args.slots
    params.cache_ram_mib = PROMPT_CACHE
    threads = args.threads or cpus.default_threads()
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.ui = False
    _embed(params, args)
    params.verbosity = ERRORS_ONLY
    template = template_for(args.model)
    if template is not None:
        params.chat_template = template
    return params


def _embed(params: Any, args: argparse.Namespace) -> None:
    """Answer /v1/embeddings, too.

    A model that was not made for it gives the state at an input's last token: of the default
    model's vectors those find related sentences best, and inputs may be as long as the context.
    Other ways of pooling need the whole input in one batch.
    """
    import xllamacpp

    params.embedding = True
    own = metadata.pooling(args.model)
    if own in (None, metadata.NO_POOLING):
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    elif own != metadata.LAST:
        params.n_batch = params.n_ubatch = args.ctx


def main() -> None:
    args = arguments()
    key = sys.stdin.buffer.readline().decode().strip()
    if not key:
        sys.exit("the key is missing: it is read from the first line of standard input")
    # Loading a model holds the interpreter's lock, so no thread of ours could watch stdin.
    exit_with_parent()
    import xllamacpp

    try:
        server = xllamacpp.Server(parameters(args, key))
    except RuntimeError as error:  # llama.cpp has said why
        sys.exit(f"llama.cpp did not start: {error}")
    print(f"serving {args.model} at {server.listening_address}", flush=True)
    sys.stdin.buffer.read()
    # Running requests need no orderly end: whoever asked is gone.
    os._exit(0)


if __name__ == "__main__":
    main()
