"""The conformance suite that the plugin brings along."""

from h2o_relay_gradio_remote.conformance import TestGradioRemote as TestGradioRemote
from h2o_relay_gradio_remote.conformance import TestGradioRemoteQueue as TestGradioRemoteQueue
from h2o_relay_gradio_remote.conformance import (
    TestGradioRemoteWholeQueue as TestGradioRemoteWholeQueue,
)
