"""The conformance suite that the plugin brings along."""

from h2o_relay_llama_cpp.conformance import TestLlamaCpp as TestLlamaCpp
