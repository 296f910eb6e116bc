"""The conformance suite that the plugin brings along."""

from h2o_relay_azure.conformance import TestAzure as TestAzure
from h2o_relay_azure.conformance import TestAzureEntra as TestAzureEntra
from h2o_relay_azure.conformance import TestAzureText as TestAzureText
from h2o_relay_azure.conformance import TestAzureV1 as TestAzureV1
