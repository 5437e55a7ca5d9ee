"""Counts that are remembered are the counts, and take a bounded place."""

from hypothesis import given
from hypothesis import strategies as st

from taximeter.meters.tokenizers.remembered import RememberedCounts


@given(st.lists(st.text(max_size=30), max_size=60))
def test_every_answer_is_right_and_the_memory_never_grows_over_its_limit(texts: list[str]) -> None:
    counts = RememberedCounts(lambda text: len(text.encode()), chars_max=100, text_chars_max=25)
    for text in texts:
        assert counts(text) == len(text.encode())
        assert counts.chars <= 100


def test_a_text_is_counted_once_until_it_is_the_oldest() -> None:
    asked: list[str] = []

    def count(text: str) -> int:
        asked.append(text)
        return 1

    counts = RememberedCounts(count, chars_max=4, text_chars_max=2)
    for text in ("aa", "bb", "aa", "cc", "aa", "bb"):
        counts(text)
    assert asked == ["aa", "bb", "cc", "bb"]


def test_a_long_text_pushes_no_other_out() -> None:
    counts = RememberedCounts(len, chars_max=40, text_chars_max=20)
    counts("short")
    assert counts("x" * 30) == 30
    assert counts.chars == 5
