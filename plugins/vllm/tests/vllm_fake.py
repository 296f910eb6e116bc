"""A `vllm` command without vLLM, for tests of how one is started, watched and stopped.

Its arguments, routes, key and log are those of vLLM 0.32's server, as far as the tests go. What it
does is said by VLLM_FAKE in its environment: a JSON object with `notes` (a file to which each start
adds a line: process ids, arguments, environment) and maybe `slow` (seconds until it listens),
`fail` (it ends with this log) or `stubborn` (it takes no notice of SIGTERM).
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ANSWER = ("Hel", "lo")
KEPT = ("PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VLLM_API_KEY", "VLLM_EXTRA")
WORKER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model = ""
    context = 512

    def do_GET(self) -> None:
        if self.path == "/health":
            return self.say(200, b"")
        if self.path == "/metrics":
            return self.say(200, b'vllm:num_requests_running{engine="0"} 1.0\n')
        if self.path == "/v1/models" and self.allowed():
            entry = {"id": self.model, "object": "model", "owned_by": "vllm"}
            entry |= {"max_model_len": self.context}
            return self.say(200, {"object": "list", "data": [entry]})
        return None

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/tokenize":
            return self.say(200, {"count": len(asked["prompt"]), "max_model_len": self.context})
        if not self.allowed():
            return None
        chat = self.path == "/v1/chat/completions"
        if not asked.get("stream"):
            text = "".join(ANSWER)
            body = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            choice = {"index": 0, **body, "finish_reason": "stop"}
            return self.say(200, {"id": "1", "model": asked["model"], "choices": [choice]})
        events = b""
        for number, text in enumerate(ANSWER, 1):
            body = {"delta": {"content": text}} if chat else {"text": text}
            reason = "stop" if number == len(ANSWER) else None
            choice = {"index": 0, **body, "finish_reason": reason}
            event = {"id": "1", "model": asked["model"], "choices": [choice]}
            events += b"data: " + json.dumps(event).encode() + b"\n\n"
        return self.say(200, events + b"data: [DONE]\n\n", "text/event-stream")

    def allowed(self) -> bool:
        if self.headers["authorization"] == f"Bearer {os.environ['VLLM_API_KEY']}":
            return True
        self.say(401, {"error": "Unauthorized"})
        return False

    def say(self, status: int, body: Any, kind: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(prog="vllm serve")
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model")
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--max-model-len", type=int, default=Handler.context)
    parser.add_argument("--chat-template")
    parser.add_argument("--disable-uvicorn-access-log", action="store_true")
    args = parser.parse_args()
    plan = json.loads(os.environ["VLLM_FAKE"])
    if plan.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # vLLM's engine is a process of its own too.
    worker = subprocess.Popen([sys.executable, "-S", "-c", WORKER])
    env = {name: os.environ.get(name) for name in KEPT}
    note = {"pids": [os.getpid(), worker.pid], "argv": sys.argv[1:], "env": env}
    with Path(plan["notes"]).open("a") as file:
        file.write(json.dumps(note) + "\n")
    print(f"(APIServer pid={os.getpid()}) INFO 11-22 22:13:28 [api.py:1] vLLM, or so", flush=True)
    time.sleep(plan.get("slow", 0))
    if "fail" in plan:
        sys.exit(plan["fail"])
    Handler.model = args.served_model_name
    Handler.context = args.max_model_len
    http.server.ThreadingHTTPServer((args.host, args.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
