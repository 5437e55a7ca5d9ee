"""What the composition root of a gateway does to its process."""

import gc

from taximeter.app import GARBAGE_OBJECTS, calm_collector


def test_the_collector_does_less_while_a_gateway_serves_and_is_given_back_as_it_was() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with calm_collector():
        assert gc.isenabled()
        assert gc.get_threshold()[0] == GARBAGE_OBJECTS
        assert gc.get_freeze_count() > frozen
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
