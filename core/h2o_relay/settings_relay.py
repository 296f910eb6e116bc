"""The settings of the relay itself: its servers, where it listens, its clocks and limits."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from .settings_field import setting

LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """Durations are seconds, sizes bytes."""

    config: str | None = setting(
        None, "A file with settings, models and pools (docs/configuration.md); empty for none, "
        "also where there is an h2o.yaml.",
    )  # fmt: skip
    inference_server: str | None = setting(
        None, "A server string, as h2oGPT writes them; the same as naming it as SERVER.",
        secret=True,
    )  # fmt: skip
    base_model: str | None = setting(
        None, "The public name for the model of the one server that is given."
    )
    model_lock: str | None = setting(
        None, "The models that are served, as h2oGPT's list of entries: a Python literal or JSON, "
        "or @FILE for one of these or YAML.", env=("model_lock",), secret=True,
    )  # fmt: skip
    visible_models: str | None = setting(
        None, "The models that are listed, by name or number, as a list; the others can be asked "
        "for all the same.",
    )  # fmt: skip
    prompt_type: str | None = setting(
        None, "How a conversation becomes a text for servers that only complete texts: the name "
        "of one of h2oGPT's prompt types (h2o prompt list).",
    )  # fmt: skip
    prompt_dict: str | None = setting(
        None, "The markers of the prompt type custom, as a Python literal or JSON."
    )
    chat_template: str | None = setting(
        None, "The same by a Jinja chat template: a file, or its text."
    )
    system_prompt: str | None = setting(None, "System prompt of conversations that bring none.")
    max_seq_len: int | None = setting(
        None, "Context of the model, in place of what its server says.", unit="tokens", low=1
    )
    max_new_tokens: int | None = setting(
        None, "Length of an answer whose request names none.", unit="tokens", low=1
    )
    max_max_new_tokens: int | None = setting(
        None, "Length that no answer exceeds, whatever its request names.", unit="tokens", low=1
    )
    concurrency_count: int | None = setting(
        None, "Requests that each server works on at the same time; others wait.",
        env=("CONCURRENCY_COUNT",), low=1,
    )  # fmt: skip
    default_server: str = setting(
        "llama_cpp", "What is served when no server is given: the embedded model.", secret=True
    )
    discover: bool = setting(
        True, "Where no server is given, look on this machine for servers that already run, and "
        "serve their models beside the embedded one.",
    )  # fmt: skip
    discover_ports: str = setting(
        "11434,8000,8080,3000,1234", "Ports of this machine that are looked at, with commas "
        "between: those of Ollama, vLLM, TGI, llama.cpp and LM Studio.",
    )  # fmt: skip
    host: str = setting("127.0.0.1", "Address to listen on, for the API and the chat UI.")
    port: int = setting(
        7860, "Port of the chat UI.", env=("GRADIO_SERVER_PORT",), low=0, high=65535
    )
    openai_port: int = setting(
        5001 if sys.platform == "darwin" else 5000,
        "Port of the OpenAI-compatible API.", env=("H2OGPT_OPENAI_PORT",), low=0, high=65535,
    )  # fmt: skip
    workers: int = setting(
        1, "Processes that answer the API's requests together, on its port (docs/workers.md).",
        low=1,
    )  # fmt: skip
    openai_server: bool = setting(True, "Serve the API; without it the chat UI alone can be used.")
    allow_api: bool = setting(
        True, "Let programs use the relay: without it neither the API is served nor h2oGPT's calls "
        "on the chat UI's port.",
    )  # fmt: skip
    ui: bool = setting(True, "Serve the chat UI.")
    allowed_hosts: str = setting(
        "", "Host names, with commas between, under which a relay without a key may be asked, "
        "beside loopback's own; * for any.",
    )  # fmt: skip
    strict_params: bool = setting(
        False, "Refuse requests with a field that the model's server does not honour, as "
        "x-h2o-strict does for one, rather than name it in x-h2o-dropped-params.",
    )  # fmt: skip
    allow_open: bool = setting(False, "Listen beyond loopback although no key is set.")
    api_key: str | None = setting(
        None, "The key that callers must present.", env=("H2OGPT_OPENAI_API_KEY",), secret=True
    )
    save_dir: str | None = setting(
        None, "Folder in which the relay keeps its data: conversations, added models, users, "
        "votes; else the user's folder for data.", env=("SAVE_DIR",),
    )  # fmt: skip
    store: str | None = setting(
        None, "Database for that data, as a URL of SQLAlchemy, in place of the file relay.db in "
        "the folder.", secret=True,
    )  # fmt: skip
    limits_url: str | None = setting(
        None, "Redis in which several relays count the limits of keys together, as a URL: "
        "redis://:password@host:6379/0; else each relay counts by itself.", secret=True,
    )  # fmt: skip
    usage_days: int = setting(
        90, "How long it is kept what each request used and has cost; 0 for ever.", unit="days",
        low=0,
    )  # fmt: skip
    log_level: str = setting("info", "How much is logged.", choices=LEVELS)

    connect_timeout: float = setting(5.0, "To connect to a server.", unit="seconds", low=0.01)
    first_byte_timeout: float = setting(
        300.0, "Until the first piece of a streamed answer.", unit="seconds", low=0.01
    )
    idle_timeout: float = setting(
        120.0, "Without a byte in the middle of an answer.", unit="seconds", low=0.01
    )
    request_timeout: float = setting(
        60.0, "For a look at a server: what it is, which models it offers.",
        env=("REQUEST_TIMEOUT",), unit="seconds", low=0.01,
    )  # fmt: skip
    answer_timeout: float = setting(
        1800.0, "For a whole answer that is not streamed.", unit="seconds", low=0.01
    )
    max_time: float | None = setting(
        None, "For an answer whose request names no max_time; it then ends with what it has.",
        unit="seconds", low=0.01,
    )  # fmt: skip
    max_max_time: float | None = setting(
        None, "For any answer, whatever its request names.", unit="seconds", low=0.01
    )
    request_timeout_fast: float = setting(
        10.0, "For a request to reach its server: the connection, and what must be opened before. "
        "It never cuts an answer.", env=("REQUEST_TIMEOUT_FAST",), unit="seconds", low=0.01,
    )  # fmt: skip
    write_timeout: float = setting(
        60.0, "Until a client that has stopped reading is dropped.", unit="seconds", low=0.01
    )
    drain_timeout: float = setting(
        30.0, "For running answers to end when the relay is stopped.", unit="seconds", low=0
    )
    read_timeout: float = setting(
        10.0,
        "For a client to send the head of its request.",
        unit="seconds",
        low=0.01,
    )
    retries: int = setting(
        2, "More tries for a request whose server cannot be reached or has no room, before the "
        "first piece of its answer.", low=0,
    )  # fmt: skip
    resume: bool = setting(
        False, "Go on with a streamed answer on another server of its pool when the first one dies "
        "in the middle of it. The rest is sampled anew.",
    )  # fmt: skip
    max_queue: int = setting(
        100, "Requests that may wait for one server that has reached its limit.", low=0
    )
    queue_timeout: float = setting(
        60.0, "For a request to wait while all servers of its pool are at their limits.",
        unit="seconds", low=0.01,
    )  # fmt: skip
    max_body: int = setting(16 * 2**20, "Largest request.", unit="bytes", low=1024)
    max_event: int = setting(
        4 * 2**20, "Largest event of a stream, or answer that is not streamed.",
        unit="bytes", low=1024,
    )  # fmt: skip
    refresh: float = setting(
        60.0, "Between looks at which models a server offers.", unit="seconds", low=0.1
    )
    http_proxy: str | None = setting(
        None, "Proxy for http:// servers; never used for loopback.",
        env=("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), secret=True,
    )  # fmt: skip
    https_proxy: str | None = setting(
        None, "Proxy for https:// servers.",
        env=("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"), secret=True,
    )  # fmt: skip
    no_proxy: str = setting("", "Hosts reached without a proxy.", env=("NO_PROXY", "no_proxy"))
    ca_file: str | None = setting(
        None, "Certificates to trust instead of the system's.",
        env=("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"),
    )  # fmt: skip
    load_plugins: str | None = setting(
        None, "Only these plugins, by name with commas between; empty for none."
    )

    @property
    def serves_api(self) -> bool:
        """Programs may use the API; the chat UI does in any case."""
        return self.openai_server and self.allow_api

    @property
    def api_switch(self) -> str:
        """The flag that has switched the API off."""
        return "--no-openai-server" if self.allow_api else "--no-allow-api"

    @property
    def ports(self) -> frozenset[int]:
        """Those that the relay listens on for others."""
        api = {self.openai_port} if self.serves_api else set()
        return frozenset(api | {self.port} if self.ui else api)
