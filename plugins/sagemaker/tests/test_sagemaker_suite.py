"""The conformance suite that the plugin brings along."""

from h2o_relay_sagemaker.conformance import TestSageMakerChat as TestSageMakerChat
from h2o_relay_sagemaker.conformance import TestSageMakerLlama2 as TestSageMakerLlama2
from h2o_relay_sagemaker.conformance import TestSageMakerText as TestSageMakerText
