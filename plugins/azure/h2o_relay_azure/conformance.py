"""The azure plugin under the conformance suite, by both of Azure's APIs."""

import sys
import time
from types import ModuleType, SimpleNamespace

import pytest

from h2o_relay.testing.suite import MODEL, BackendSuite, deviates

KEY_ENV = ("OPENAI_AZURE_KEY", "AZURE_OPENAI_API_KEY", "OPENAI_API_KEY")
URL = "https://ep.openai.azure.com"


class TestAzure(BackendSuite):
    plugin = "azure"
    documented = {
        "openai_azure_chat:DEPLOYMENT:NAME.openai.azure.com:2024-10-21:KEY": {
            "url": "https://NAME.openai.azure.com",
            "api": "chat",
            "key": "KEY",
            "model": "DEPLOYMENT",
            "options": {"deployment": "DEPLOYMENT", "api_version": "2024-10-21", "auth": "key"},
        },
        "openai_azure:dep:ep.openai.azure.com": {
            "url": URL,
            "api": "text",
            "key": None,
            "key_env": KEY_ENV,
            "options": {"deployment": "dep", "api_version": "2024-07-01-preview"},
        },
        "openai_azure_chat:dep": {"url": None, "needs": ("url",)},
        "openai_azure_chat:dep:https://ep.openai.azure.com/openai/v1": {"url": f"{URL}/openai/v1"},
        "azure_chat:dep:ep.openai.azure.com": {"url": URL, "api": "chat"},
        "azure:dep:ep.openai.azure.com": {"url": URL, "api": "text"},
        "azure_chat:dep:ep.openai.azure.com:None:entra": {
            "key": None,
            "options": {
                "deployment": "dep", "api_version": "2024-07-01-preview", "auth": "entra",
            },
        },
    }  # fmt: skip
    foreign = ("openai_chat", "openai", "azureX:dep:host", "openai_azure_chatty:dep:host")
    malformed = (
        "openai_azure_chat",
        "openai_azure_chat:",
        "openai_azure_chat:None:host",
        "azure::host",
        "azure:dep:ftp://host",
        "azure:dep:host:0123456789abcdef0123456789abcdef",
        "azure:dep:host:2024-10-21:KEY:more",
        "azure:dep:http://host:99999",
        "azure:dep:bad host",
    )
    secret_string = f"openai_azure_chat:dep:ep.openai.azure.com:None:{BackendSuite.secret}"
    expected_capabilities = {"kinds": frozenset({"chat", "text"})}

    def server_for(self, url: str) -> str:
        return f"openai_azure_chat:{MODEL}:{url}:None:KEY"

    @deviates("a resource lists what could be deployed; the server is its one deployment")
    async def test_listed_models_can_be_asked_for(self) -> None:
        names = ["gpt-4o", "text-embedding-3-large"]
        async with self.relay(self.reply(), self.speaks.listing(names)) as relay:
            assert [item.model for item in relay.kernel.models()] == [MODEL]
            (server,) = relay.kernel.status()
            assert server.stage == "ready"


class TestAzureText(TestAzure):
    """The text completion API."""

    def server_for(self, url: str) -> str:
        return f"openai_azure:{MODEL}:{url}:2024-10-21:KEY"


class TestAzureV1(TestAzure):
    """The API without versions."""

    def server_for(self, url: str) -> str:
        return f"azure_chat:{MODEL}:{url}/openai/v1/:None:KEY"


class TestAzureEntra(TestAzure):
    """Signed in with Entra ID, which is the same in all but the header."""

    @pytest.fixture(autouse=True)
    def signed_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In place of the package azure-identity: an identity that always gives a token."""
        token = SimpleNamespace(token="a-token", expires_on=int(time.time()) + 3600)
        identity = SimpleNamespace(get_token=lambda scope: token, close=lambda: None)
        module = ModuleType("azure.identity")
        module.DefaultAzureCredential = lambda: identity  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "azure", ModuleType("azure"))
        monkeypatch.setitem(sys.modules, "azure.identity", module)

    def server_for(self, url: str) -> str:
        return f"azure_chat:{MODEL}:{url}:2024-10-21:entra"
