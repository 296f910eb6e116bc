"""Real Gradio apps for the tests, run as a program: one line of JSON with their addresses, then
they serve until their standard input ends. Names after the first argument choose some of them.

`h2ogpt` has the endpoints of h2oGPT that a remote caller needs; what was asked of it is written to
the folder that the first argument names, one file a request. `closed` is the same with a login.
`mounted` is below a path. `chat` is a gr.ChatInterface, `thinking` one that takes words back,
`custom` a page of Blocks with its own /chat, `image` no chat at all.
"""

import ast
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import fastapi
import gradio as gr
import uvicorn

WORDS = ["Hel", "lo, ", "wörld ", "\U0001f99c", ' "quoted"\n', "it's"]
KEY = "sk-remote-canary-3310"
USER, PASSWORD = "ann", "pässword-7781"
JOURNAL = Path(sys.argv[1])


def note(name: str, what: Any) -> None:
    """Leave a file for the tests to find."""
    path = JOURNAL / f"{name}-{time.monotonic_ns()}"
    path.with_suffix(".part").write_text(json.dumps(what), encoding="utf-8")
    path.with_suffix(".part").rename(path.with_suffix(".json"))


def answer(text: str, **more: Any) -> str:
    return repr({"response": text, "error": "", "sources": [], "save_dict": {}, **more})


def submit(argument: str) -> Iterator[str]:
    """/submit_nochat_api: cumulative, the last answer complete, errors as h2oGPT has them."""
    asked = ast.literal_eval(argument)
    note("asked", asked)
    order = asked["instruction_nochat"]
    if order == "!hidden":
        yield answer("Hel")
        yield repr({"error": f"out of memory ({KEY})", "error_ex": "trace", "sources": []})
        raise ValueError("and the job fails")
    if order == "!raise":
        raise gr.Error("the function gave up", print_exception=False)
    if order == "!key":
        yield answer("Invalid Access Key, request access key from sales@example.com")
        return
    if order == "!slow":
        yield from slowly()
        return
    text = ""
    for word in WORDS:
        text += word
        if asked.get("stream_output"):
            yield answer(text)
            time.sleep(0.01)
    extra = {"num_prompt_tokens": 7, "ntokens": len(WORDS)}
    yield answer(text, save_dict={"valid_key": True, "extra_dict": extra})


def slowly() -> Iterator[str]:
    try:
        for count in range(600):
            yield answer("word " * (count + 1))
            time.sleep(0.05)
        note("ended", count)
    except GeneratorExit:
        note("stopped", count)
        raise


def model_names() -> str:
    return repr(
        [
            {"display_name": "big", "base_model": "org/big", "max_seq_len": 4096},
            {"display_name": "small", "base_model": "org/small", "max_seq_len": None},
        ]
    )


def h2ogpt() -> gr.Blocks:
    with gr.Blocks(title="h2oGPT") as page:
        state, given, said = gr.State({"kept": 1}), gr.Textbox(), gr.Textbox()
        run, names = gr.Button(), gr.Button()
        run.click(lambda kept, text: (yield from submit(text)), [state, given], [said],
                  api_name="submit_nochat_api", concurrency_limit=8)  # fmt: skip
        names.click(model_names, None, [said], api_name="model_names", queue=False)
    return page


def respond(message: str, history: list[Any]) -> Iterator[str]:
    note("history", history)
    text = ""
    for word in f"You said: {message}".split(" "):
        text += word if not text else f" {word}"
        yield text
        time.sleep(0.01)


def thinking(message: str) -> Iterator[str]:
    yield "Thinking..."
    yield f"No: {message}"


def custom() -> gr.Blocks:
    with gr.Blocks(title="Parrot") as page:
        message, history, said = gr.Textbox(), gr.Chatbot(), gr.Textbox()
        go = gr.Button()
        go.click(lambda text, past: f"{len(past)} before {text}", [message, history], [said],
                 api_name="chat")  # fmt: skip
    return page


def mounted(page: gr.Blocks) -> tuple[uvicorn.Server, str]:
    """The page below /ui of an application of somebody's own, and the address of that."""
    app = gr.mount_gradio_app(fastapi.FastAPI(), page, path="/ui", show_error=True)
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    threading.Thread(target=server.run, args=([sock],), daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return server, f"http://127.0.0.1:{sock.getsockname()[1]}/ui"


def main() -> None:
    made = {
        "h2ogpt": h2ogpt,
        "closed": h2ogpt,
        "chat": lambda: gr.ChatInterface(respond),
        "thinking": lambda: gr.ChatInterface(
            lambda message, history: (yield from thinking(message))
        ),
        "custom": custom,
        "image": lambda: gr.Interface(lambda x: x + 1, "number", "number"),
    }
    chosen = sys.argv[2:] or [*made, "mounted"]
    pages = {name: make() for name, make in made.items() if name in chosen}
    found = {}
    for name, page in pages.items():
        auth = (USER, PASSWORD) if name == "closed" else None
        _, url, _ = page.queue().launch(
            server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, auth=auth,
            show_error=name != "image",
        )  # fmt: skip
        found[name] = url.rstrip("/")
    server = None
    if "mounted" in chosen:
        server, found["mounted"] = mounted(h2ogpt())
    print(json.dumps(found), flush=True)
    sys.stdin.read()
    if server is not None:
        server.should_exit = True
    for page in pages.values():
        page.close(verbose=False)


if __name__ == "__main__":
    main()
