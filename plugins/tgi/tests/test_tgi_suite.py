"""The conformance suite that the plugin brings along."""

from h2o_relay_tgi.conformance import TestTgi as TestTgi
from h2o_relay_tgi.conformance import TestTgiNative as TestTgiNative
