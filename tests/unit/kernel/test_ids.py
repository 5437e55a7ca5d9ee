"""UUIDv7 inside, letters outside."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.clock import ManualClock
from taximeter.kernel.ids import IdFactory, decode_id, encode_id


@given(st.uuids())
def test_a_public_id_leads_back_to_its_uuid(value: UUID) -> None:
    assert decode_id("rcp", encode_id("rcp", value)) == value


@pytest.mark.parametrize("text", ["", "rcp_", "rcp_short", "key_00000000000000000000000000", "rcp_0000000000000000000000000U", "rcp_" + "z" * 26])
def test_what_is_no_id_names_nothing(text: str) -> None:
    assert decode_id("rcp", text) is None


def test_ids_are_uuid_version_7_and_rise_even_when_the_clock_steps_back() -> None:
    clock = ManualClock()
    factory = IdFactory(clock)
    made = [factory.new() for _ in range(100)]
    clock.unix_ms -= 60_000
    made += [factory.new() for _ in range(100)]
    assert {value.version for value in made} == {7}
    assert made == sorted(set(made))


def test_ids_sort_by_time() -> None:
    clock = ManualClock()
    factory = IdFactory(clock)
    first = factory.new()
    clock.advance(1)
    assert first < factory.new()
    assert first.int >> 80 == ManualClock().unix_ms
