"""Errors travel between processes, and Beam rebuilds them from their arguments."""

import pickle

import pytest

from transforms import errors


def classes(root: type[Exception]) -> list[type[Exception]]:
    return [root, *(found for kind in root.__subclasses__() for found in classes(kind))]


@pytest.mark.parametrize("kind", classes(errors.EmbeddingPipelineError), ids=lambda kind: kind.__name__)
def test_error_survives_pickling_and_being_rebuilt_with_a_longer_message(kind: type[Exception]) -> None:
    error = pickle.loads(pickle.dumps(kind("what to do")))
    assert (type(error), str(error)) == (kind, "what to do")
    assert str(type(error)(error.args[0] + " [while running 'step']", *error.args[1:])).startswith("what to do")


def test_every_fatal_error_can_be_named_in_a_stop_notice() -> None:
    assert {errors.ConfigError, *classes(errors.FatalError)} == set(errors.STOPPING_ERRORS.values())
