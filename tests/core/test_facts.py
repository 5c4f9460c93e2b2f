import numpy as np
import pytest

from transforms.core.facts import check_same_space, facts_from_json, facts_to_json
from transforms.errors import ProviderRefused, RunRefused

CANARY = np.array([1, 0, 0], "<f4").tobytes()
NEAR = np.array([1, 0.05, 0], "<f4").tobytes()
FAR = np.array([1, 0.2, 0], "<f4").tobytes()


def test_facts_come_back_as_they_were() -> None:
    assert facts_from_json(facts_to_json(3, "m-001", True, CANARY)) == (3, "m-001", True, CANARY)


def test_nearly_equal_canary_is_the_same_model() -> None:
    check_same_space((3, NEAR), (3, CANARY), "version 2", False)


def test_other_canary_is_refused_with_the_remedy() -> None:
    with pytest.raises(RunRefused, match=r"cosine of 0\.9806 .* version 2 .*--accept-new-canary"):
        check_same_space((3, FAR), (3, CANARY), "version 2", False)


def test_other_canary_can_be_accepted() -> None:
    check_same_space((3, FAR), (3, CANARY), "version 2", True)


def test_dataset_without_a_canary_is_not_compared() -> None:
    check_same_space((3, FAR), (3, b""), "version 2", False)


def test_other_dimension_is_never_accepted() -> None:
    with pytest.raises(ProviderRefused, match="dimension 4, but the journal holds dimension 3"):
        check_same_space((4, CANARY), (3, CANARY), "the journal", True)
