"""The llama_cpp plugin under the conformance suite, without its engine."""

from h2o_relay.testing.suite import BackendSuite, does_not_apply

NO_KEYS = "the server strings of a local engine have no keys"


class TestLlamaCpp(BackendSuite):
    plugin = "llama_cpp"
    connects = "it starts an engine; the engine itself has tests of its own"
    documented = {
        "llama_cpp": {"api": "chat", "model": "SmolLM2-135M-Instruct"},
        "llama_cpp:my-model": {"model": "my-model", "options": {}},
        "llama_cpp:/path/to/model.gguf": {
            "model": "model",
            "options": {"path": "/path/to/model.gguf"},
        },
        "llama_cpp:hf:owner/repository/model.gguf": {
            "model": "model",
            "options": {"hf": "owner/repository/model.gguf"},
        },
    }
    foreign = ("llama_cppp", "llama-cpp:model.gguf", "llama:model", "vllm:host:8000")
    malformed = (
        "llama_cpp:",
        "llama_cpp:two words",
        "llama_cpp:/a/folder/",
        "llama_cpp:hf:owner/model.gguf",
        "llama_cpp:hf:owner/repository/model.bin",
    )
    expected_capabilities = {"continues_text": True, "cancels": frozenset({"stream"})}

    test_a_key_is_never_shown = does_not_apply(NO_KEYS)
    test_a_key_is_not_in_the_error_of_a_malformed_string = does_not_apply(NO_KEYS)

    def server_for(self, url: str) -> str:
        return "llama_cpp"
