"""The conformance suite that the plugin brings along."""

from h2o_relay_openai.conformance import TestGroq as TestGroq
from h2o_relay_openai.conformance import TestOpenAI as TestOpenAI
from h2o_relay_openai.conformance import TestOpenAIText as TestOpenAIText
