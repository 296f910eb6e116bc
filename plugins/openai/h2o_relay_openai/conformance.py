"""The openai plugin under the conformance suite."""

from h2o_relay.testing.suite import BackendSuite

KEY_ENV = ("OPENAI_API_KEY",)


class TestOpenAI(BackendSuite):
    plugin = "openai"
    documented = {
        "openai": {"url": None, "api": "text", "key": None, "key_env": KEY_ENV},
        "openai_chat": {"url": None, "api": "chat", "key": None, "key_env": KEY_ENV},
        "openai_chat:None:api.example.com/v1:None:KEY": {
            "url": "https://api.example.com/v1",
            "api": "chat",
            "key": "KEY",
        },
        "openai_chat:None:https://api.example.com/v1:None:KEY": {
            "url": "https://api.example.com/v1",
            "key": "KEY",
        },
        "openai:None:http://localhost:8080/v1": {"url": "http://localhost:8080/v1", "api": "text"},
        "openai_chat:None:None:None:KEY": {"url": None, "key": "KEY"},
        "groq": {"key": None, "key_env": ("GROQ_API_KEY",), "needs": ("key",), "vendor": "groq"},
        "groq:KEY": {"url": "https://api.groq.com/openai/v1", "api": "chat", "key": "KEY"},
        "groq:https://proxy.example.com/v1:KEY": {
            "url": "https://proxy.example.com/v1",
            "key": "KEY",
        },
    }
    foreign = (
        "openai_azure_chat:deployment:host",
        "openaiX",
        "vllm:host:8000",
        "openai_chatty",
        "groqX:KEY",
    )
    malformed = (
        "openai_chat:None:ftp://host/v1",
        "openai_chat:None:host:None:KEY:more",
        "openai_chat:None:http://host:99999/v1",
        "openai_chat:None:bad host/v1",
        "groq:KEY:more",
    )
    secret_string = f"openai_chat:None:api.example.com/v1:None:{BackendSuite.secret}"

    def server_for(self, url: str) -> str:
        return f"openai_chat:None:{url}/v1"


class TestOpenAIText(TestOpenAI):
    """The same by the text completion API."""

    def server_for(self, url: str) -> str:
        return f"openai:None:{url}/v1"


class TestGroq(TestOpenAI):
    """Groq, which has the chat API only."""

    secret_string = f"groq:{BackendSuite.secret}"
    expected_capabilities = {"kinds": frozenset({"chat"})}

    def server_for(self, url: str) -> str:
        return f"groq:{url}/openai/v1:KEY"
