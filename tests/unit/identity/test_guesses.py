"""Wrong keys are counted, forgotten, and never more than there is room for."""

import pytest

from taximeter.identity.guesses import KNOWN_MAX, WINDOW_S, Guesses, place_of

HERE = ("203.0.113.9",)


def test_the_first_ones_cost_nothing_and_each_further_one_doubles_the_wait() -> None:
    guesses = Guesses(3, 10.0)
    waits = []
    for _ in range(8):
        guesses.wrong(HERE, 100.0)
        waits.append(guesses.wait_s(HERE, 100.0))
    assert waits == [0, 0, 1, 2, 4, 8, 10, 10]
    assert guesses.wait_s(HERE, 109.5) == 0.5
    assert guesses.wait_s(HERE, 110.0) == 0
    assert guesses.wait_s(("203.0.113.10",), 100.0) == 0


def test_after_a_minute_of_quiet_it_is_forgotten_and_not_sooner() -> None:
    guesses = Guesses(2, 300.0)
    guesses.wrong(HERE, 0.0)
    guesses.wrong(HERE, WINDOW_S - 0.1)
    assert guesses.wait_s(HERE, WINDOW_S - 0.1) == 1
    # The minute begins when the refusal is over.
    guesses.wrong(HERE, 2 * WINDOW_S)
    assert guesses.wait_s(HERE, 2 * WINDOW_S) == 2
    guesses.wrong(HERE, 3 * WINDOW_S + 2.0)
    assert guesses.wait_s(HERE, 3 * WINDOW_S + 2.0) == 0


def test_the_worse_of_address_and_prefix_counts() -> None:
    guesses = Guesses(2, 300.0)
    for number in range(3):
        guesses.wrong((f"203.0.113.{number}", "tx-abcdefgh"), 0.0)
    assert guesses.wait_s(("198.51.100.1", "tx-abcdefgh"), 0.0) == 2
    assert guesses.wait_s(("203.0.113.1", "tx-00000000"), 0.0) == 0
    assert guesses.wait_s((), 0.0) == 0


def test_no_limit_is_no_limit() -> None:
    guesses = Guesses(0, 300.0)
    for _ in range(100):
        guesses.wrong(HERE, 0.0)
    assert (guesses.wait_s(HERE, 0.0), len(guesses)) == (0, 0)


def test_what_is_remembered_is_bounded_and_the_quietest_goes_first() -> None:
    guesses = Guesses(1, 300.0)
    for number in range(KNOWN_MAX + 500):
        guesses.wrong((str(number),), 0.0)
        guesses.wrong(("busy",), 0.0)
    assert len(guesses) == KNOWN_MAX
    assert guesses.wait_s(("0",), 0.0) == 0
    assert guesses.wait_s(("busy",), 0.0) == 300
    assert guesses.wait_s((str(KNOWN_MAX + 499),), 0.0) == 1


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("x" * 200, "x" * 64),
    ],
)
def test_an_address_of_ipv6_counts_as_its_network(address: str, place: str) -> None:
    assert place_of(address) == place
