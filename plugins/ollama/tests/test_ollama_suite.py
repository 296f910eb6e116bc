"""The conformance suite that the plugin brings along."""

from h2o_relay_ollama.conformance import TestOllama as TestOllama
from h2o_relay_ollama.conformance import TestOllamaText as TestOllamaText
