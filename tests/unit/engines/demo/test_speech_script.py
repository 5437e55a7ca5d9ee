"""Sentences become lines for the model: short ones join, languages part."""

from collections.abc import AsyncIterator

import pytest

from taximeter.engines.demo.speech.phonemizer import Phonemizer
from taximeter.engines.demo.speech.script import lines

pytestmark = pytest.mark.anyio


@pytest.fixture
async def phonemizer() -> AsyncIterator[Phonemizer]:
    made = Phonemizer()
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("text", "languages"),
    [
        ("The meter starts now.", ["en"]),
        ("今天天气真好。", ["zh"]),
        ("你好。Hello, this is a test. 今天天气真好！", ["zh", "en", "zh"]),
        ("我们一起说 good morning，然后去公园散步。", ["en zh"]),
        ("Hello, 你好 is how we greet the passengers.", ["en zh"]),
        ("Yes. No. Go.", ["en"]),
        ("Hi. 今天天气真好！", ["en zh"]),
        ("共 42 人。", ["zh"]),
        ("...", []),
    ],
)
async def test_a_line_has_the_languages_of_its_words_and_sentences_part_where_they_change(
    text: str, languages: list[str], phonemizer: Phonemizer
) -> None:
    assert [" ".join(sorted(line.languages)) async for line in lines(text, phonemizer, 200, part=True)] == languages


async def test_sentences_for_one_voice_do_not_part(phonemizer: Phonemizer) -> None:
    assert len([line async for line in lines("你好，世界。Hello.", phonemizer, 200, part=False)]) == 1
    assert len([line async for line in lines("你好，世界。Hello.", phonemizer, 200, part=True)]) == 2


async def test_short_sentences_are_said_together(phonemizer: Phonemizer) -> None:
    assert len([line async for line in lines("好。是。对。不。", phonemizer, 200, part=True)]) == 1


async def test_long_sentences_are_cut_and_keep_their_language(phonemizer: Phonemizer) -> None:
    said = [line async for line in lines("今天天气真好，我们一起去公园散步吧，顺便计算一下令牌数量。" * 2, phonemizer, 60, part=True)]
    assert len(said) > 2
    assert {line.languages for line in said} == {frozenset({"zh"})}
    assert all(len(line.phonemes) <= 60 for line in said)


async def test_characters_that_cannot_be_said_are_counted_once(phonemizer: Phonemizer) -> None:
    said = [line async for line in lines("Привет. Good morning to all of you. Пока. 今天天气真好！", phonemizer, 200, part=True)]
    assert sum(line.skipped for line in said) == 10
