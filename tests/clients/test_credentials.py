import pytest

from transforms.clients.credentials import read_key
from transforms.errors import ConfigError


@pytest.mark.parametrize("value", ["sk-1", " sk-1\n", "\ufeffsk-1", "\ufeff sk-1 "])
def test_white_space_and_marks_around_a_key_are_taken_off(value: str) -> None:
    assert read_key("KEY", {"KEY": value}) == "sk-1"


def test_a_server_without_a_key_needs_no_variable() -> None:
    assert read_key("", {}) == ""


@pytest.mark.parametrize("environment", [{}, {"KEY": ""}, {"KEY": " \n"}], ids=["missing", "empty", "blank"])
def test_a_missing_key_names_its_variable(environment: dict[str, str]) -> None:
    with pytest.raises(
        ConfigError, match=r"the environment variable KEY, which embedding.api_key_env names, is not set"
    ):
        read_key("KEY", environment)


@pytest.mark.parametrize("value", ["sk 1", "sk-ключ", "sk-1\nsk-2"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(value: str) -> None:
    with pytest.raises(ConfigError, match=r"the environment variable KEY holds characters") as caught:
        read_key("KEY", {"KEY": value})
    assert value not in str(caught.value)
