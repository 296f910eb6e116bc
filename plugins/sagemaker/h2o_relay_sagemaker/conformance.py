"""The sagemaker plugin under the conformance suite, with a container for each payload."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from h2o_relay.errors import BadServerString, UpstreamBadResponse
from h2o_relay.testing.scripts import end, play
from h2o_relay.testing.suite import BackendSuite, deviates, does_not_apply
from h2o_relay.testing.wire import Wire

from .standin import Llama2Container, OpenAIContainer, TgiContainer, only_these_keys

NO_LIST = "the runtime API lists nothing: the one model is the endpoint itself"
CHAT = "sagemaker_chat:my-endpoint:us-east-2"


class TestSageMakerChat(BackendSuite):
    plugin = "sagemaker"
    speaks: ClassVar[Wire] = OpenAIContainer()
    documented = {
        CHAT: {"api": "chat", "options": {"endpoint": "my-endpoint", "region": "us-east-2"}},
        "sagemaker_chat:my-endpoint": {
            "api": "chat",
            "model": "my-endpoint",
            "options": {"endpoint": "my-endpoint"},
        },
        "sagemaker:my-endpoint:us-east-2": {
            "api": "text",
            "options": {"endpoint": "my-endpoint", "region": "us-east-2"},
        },
        f"{CHAT}:llama2": {
            "options": {"endpoint": "my-endpoint", "region": "us-east-2", "payload": "llama2"}
        },
        "sagemaker_chat:my-endpoint:None:openai": {
            "options": {"endpoint": "my-endpoint", "payload": "openai"}
        },
        "sagemaker: my-endpoint : us-gov-west-1 :": {
            "model": "my-endpoint",
            "options": {"endpoint": "my-endpoint", "region": "us-gov-west-1"},
        },
    }
    foreign = ("sagemakers:ep:us-east-2", "sagemaker_chatty:ep", "SageMaker:ep", "vllm:host:8000")
    malformed = (
        "sagemaker",
        "sagemaker_chat:",
        "sagemaker_chat::us-east-2",
        "sagemaker_chat:None:us-east-2",
        "sagemaker_chat:my_endpoint:us-east-2",
        "sagemaker_chat:-endpoint:us-east-2",
        f"sagemaker_chat:{'e' * 64}:us-east-2",
        "sagemaker_chat:my-endpoint:Ohio",
        "sagemaker_chat:my-endpoint:us-east-2:hf",
        "sagemaker_chat:my-endpoint:us-east-2:tgi:more",
        "sagemaker_chat:https://host/endpoints/e:us-east-2",
    )
    secret_string = f"{CHAT}:{BackendSuite.secret}"
    expected_capabilities = {"kinds": frozenset({"chat", "text"}), "tokenizer": False}

    test_a_key_is_never_shown = does_not_apply("the server strings have no keys")
    test_listed_models_can_be_asked_for = does_not_apply(NO_LIST)
    test_a_failing_list_is_no_list = does_not_apply(NO_LIST)
    test_a_list_of_the_wrong_shape_is_no_list = does_not_apply(NO_LIST)

    @pytest.fixture(autouse=True)
    def aws_environment(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, leaves_nothing: None
    ) -> None:
        only_these_keys(monkeypatch, tmp_path)
        self.environment = monkeypatch

    def server_for(self, url: str) -> str:
        self.environment.setenv("H2O_SAGEMAKER_ENDPOINT_URL", url)
        return "sagemaker_chat:test-model:us-east-2"

    @pytest.mark.parametrize("how", ["generate", "stream"])
    @deviates("the container's own status is in the body that AWS puts around its refusal")
    async def test_a_refusal_that_breaks_off_is_what_its_status_says(self, how: str) -> None:
        cut = play(self.speaks.refusal(503, "the reason").wire[:-9], end)
        async with self.relay(lambda _: cut) as relay:
            with pytest.raises(UpstreamBadResponse, match=r"container .* failed$"):
                await getattr(relay, how)()

    def test_what_stands_in_the_wrong_field_is_not_shown(self) -> None:
        for text in (
            self.secret_string,
            f"sagemaker:ep:{self.secret}",
            f"sagemaker:{self.secret}_",
        ):
            with pytest.raises(BadServerString) as caught:
                self.plugins().parse(text)
            shown = f"{caught.value} {caught.value.body()}"
            assert (self.secret in shown) == text.startswith("sagemaker:sk"), text


class TestSageMakerText(TestSageMakerChat):
    """`sagemaker:` with TGI's payload."""

    speaks = TgiContainer()
    expected_capabilities = {"kinds": frozenset({"text"})}

    def server_for(self, url: str) -> str:
        return super().server_for(url).replace("sagemaker_chat", "sagemaker")


class TestSageMakerLlama2(TestSageMakerChat):
    """`sagemaker_chat` with the payload of JumpStart's Llama 2."""

    speaks = Llama2Container()
    expected_capabilities = {"kinds": frozenset({"chat"})}

    def server_for(self, url: str) -> str:
        return f"{super().server_for(url)}:llama2"
