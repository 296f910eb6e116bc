"""The conformance suite that the plugin brings along."""

from h2o_relay_replicate.conformance import TestReplicate as TestReplicate
from h2o_relay_replicate.conformance import TestReplicateVersion as TestReplicateVersion
