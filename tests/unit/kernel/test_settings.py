"""Settings from the environment."""

from pathlib import Path

import pytest

from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import Settings


def test_without_variables_the_defaults_hold() -> None:
    assert Settings.from_env({}) == Settings()


def test_variables_are_read_by_their_type() -> None:
    settings = Settings.from_env({"TAXIMETER_PORT": "9000", "TAXIMETER_HOME": "data here", "TAXIMETER_DEMO": "no", "TAXIMETER_KEY_CACHE_S": "0.25"})
    assert (settings.port, settings.home, settings.demo, settings.key_cache_s) == (9000, Path("data here"), False, 0.25)


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_env({"TAXIMETER_PORT": "  "}).port == Settings().port


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TAXIMETER_PORT", "eighty"),
        ("TAXIMETER_PORT", "70000"),
        ("TAXIMETER_DEMO", "maybe"),
        ("TAXIMETER_LANES", "2.5"),
        ("TAXIMETER_QUOTE_TTL_S", "0"),
        ("TAXIMETER_QUOTE_TTL_S", "-5"),
        ("TAXIMETER_QUOTE_TTL_S", "99999999999"),
        ("TAXIMETER_QUOTE_KEEP_S", "-1"),
        ("TAXIMETER_QUOTE_ITEMS_MAX", "0"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(name: str, value: str) -> None:
    with pytest.raises(SetupError, match=name):
        Settings.from_env({name: value})
