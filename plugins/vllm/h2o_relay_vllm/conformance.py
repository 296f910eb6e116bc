"""The vllm plugin under the conformance suite."""

from h2o_relay.testing.suite import BackendSuite


class TestVllm(BackendSuite):
    plugin = "vllm"
    documented = {
        "vllm:host:8000": {"url": "http://host:8000/v1", "api": "text", "key": "EMPTY"},
        "vllm:0.0.0.0:5000": {"url": "http://0.0.0.0:5000/v1", "api": "text", "key": "EMPTY"},
        "vllm_chat:host:8000": {"url": "http://host:8000/v1", "api": "chat"},
        "vllm_chat:http://localhost:11434/v1/": {
            "url": "http://localhost:11434/v1/",
            "api": "chat",
            "key": "EMPTY",
        },
        "vllm_chat:https://vllm.h2o.ai:None:/v1:1234ABCD": {
            "url": "https://vllm.h2o.ai/v1",
            "api": "chat",
            "key": "1234ABCD",
        },
        "vllm:host:5000:None:KEY": {"url": "http://host:5000/v1", "key": "KEY"},
        "vllm:host:5000/v1": {"url": "http://host:5000/v1"},
        "vllm:[::1]:8000": {"url": "http://[::1]:8000/v1"},
        "vllm_chat:local:org/model": {
            "url": None,
            "api": "chat",
            "key": None,
            "model": "org/model",
            "options": {"local": "org/model"},
        },
        "vllm:local:/models/my-model/": {
            "api": "text",
            "model": "my-model",
            "options": {"local": "/models/my-model/"},
        },
        "vllm: local : ~/my-model ": {"model": "my-model", "options": {"local": "~/my-model"}},
        "vllm:local:org/model-GGUF:Q4_K_M": {"model": "org/model-GGUF:Q4_K_M"},
        "vllm:local:8000": {"url": "http://local:8000/v1", "key": "EMPTY", "options": {}},
        "vllm:local:None:/v1:KEY": {"url": "http://local/v1", "key": "KEY"},
        "vllm:local::/v1": {"url": "http://local/v1"},
        "vllm:local.example.com:8000": {"url": "http://local.example.com:8000/v1"},
    }
    foreign = ("vllmfoo:host:1", "vllm_chatty", "openai_chat", "VLLM:host:8000")
    malformed = (
        "vllm",
        "vllm:",
        "vllm:host:99999",
        "vllm:host:8000:None:KEY:more",
        "vllm:ftp://host",
        "vllm:bad host:8000",
        "vllm:local",
        "vllm_chat:local:",
        "vllm:local:--trust-remote-code",
        "vllm:local:http://host:8000",
        "vllm:local:/",
        "vllm:local:..",
    )
    expected_capabilities = {"continues_text": True, "trims_text": True}
    secret_string = f"vllm:host:8000:None:{BackendSuite.secret}"

    def server_for(self, url: str) -> str:
        return f"vllm_chat:{url}:/v1"


class TestVllmText(TestVllm):
    """The same by the text completion API."""

    def server_for(self, url: str) -> str:
        return f"vllm:{url}:/v1"
