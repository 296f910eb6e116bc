"""The conformance suite that the plugin brings along."""

from h2o_relay_vllm.conformance import TestVllm as TestVllm
from h2o_relay_vllm.conformance import TestVllmText as TestVllmText
