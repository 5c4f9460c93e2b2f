"""Pipelines on the pinned engine."""

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.test_pipeline import TestPipeline


def pipeline(*flags: str) -> TestPipeline:
    return TestPipeline(runner=FnApiRunner(), options=PipelineOptions(list(flags)))
