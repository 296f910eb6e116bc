"""The markov plugin under the conformance suite; `h2o plugin check markov` runs this."""

from h2o_relay.testing.suite import LocalSuite, does_not_apply

NO_KEYS = "the server strings have no keys"


class TestMarkov(LocalSuite):
    plugin = "markov"
    server_string = "markov"
    asks = {"seed": 7}
    endless = {"max_tokens": 10_000_000}
    documented = {
        "markov": {"model": "markov", "url": None, "options": {"file": None}},
        "markov:/path/to/a-text.txt": {
            "model": "a-text",
            "options": {"file": "/path/to/a-text.txt"},
        },
    }
    foreign = ("markovs", "markov2:file.txt")
    malformed = ("markov:", "markov:None", "markov:one.txt:two.txt")
    expected_capabilities = {"kinds": frozenset({"chat", "text"}), "tokenizer": False}

    test_a_key_is_never_shown = does_not_apply(NO_KEYS)
    test_a_key_is_not_in_the_error_of_a_malformed_string = does_not_apply(NO_KEYS)
