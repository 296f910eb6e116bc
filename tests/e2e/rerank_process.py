"""llama.cpp as a reranker, with a chat model: its scores mean nothing, its API is the real one.

Started as `h2o_relay_llama_cpp.server` is, which never does this: it serves models by what their
files say they are for.
"""

from __future__ import annotations

import os
import sys

import xllamacpp

from h2o_relay.engines import exit_with_parent
from h2o_relay_llama_cpp import server


def main() -> None:
    args = server.arguments()
    params = server.parameters(args, sys.stdin.buffer.readline().decode().strip())
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    params.n_batch = params.n_ubatch = args.ctx
    exit_with_parent()
    serving = xllamacpp.Server(params)
    print(f"reranking at {serving.listening_address}", flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
