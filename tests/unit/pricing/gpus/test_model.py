"""Operations and bytes to seconds, and seconds to Tokens."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.clock import SystemClock, utc_from_ms
from taximeter.metering.fares import read_catalog
from taximeter.pricing.gpus import GpuPrice, builtin_gpus, tokens_per_second

H100 = builtin_gpus()["H100"]
AMOUNTS = st.integers(min_value=0, max_value=10**20)


def test_a_second_of_the_reference_gpu_is_four_tokens() -> None:
    assert H100.price is not None
    assert tokens_per_second(H100.price, H100.price) == 4
    half = GpuPrice(per_hour=H100.price.per_hour / 2, currency="USD")
    assert tokens_per_second(half, H100.price) == 2


def test_the_built_in_card_of_wan_has_the_rates_of_the_reference_gpu() -> None:
    card = read_catalog(None, utc_from_ms(SystemClock().now_ms())).cards["wan2.2-t2v-a14b-calibrated@1"]
    assert card.tokens_per_unit("linear_flop") == 4 / H100.linear_flop_s
    assert card.tokens_per_unit("attention_flop") == 4 / H100.attention_flop_s


@given(linear=AMOUNTS, attention=AMOUNTS, moved=AMOUNTS, more=AMOUNTS)
def test_more_work_never_takes_less_time(linear: int, attention: int, moved: int, more: int) -> None:
    took = H100.seconds(linear, attention, moved)
    assert took <= H100.seconds(linear + more, attention, moved)
    assert took <= H100.seconds(linear, attention + more, moved)
    assert took <= H100.seconds(linear, attention, moved + more)
    assert took >= Fraction(moved, H100.bandwidth_bytes_s)
