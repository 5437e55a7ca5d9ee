"""Memory over a run: shares of it, growth, and what is sent."""

import json

import pytest

from bench.memory import STREAM_EVERY, Series, Watch, picture, requests, table

SERIES = Series(
    answers=[0, 100, 250, 500, 750, 1000],
    memory={"gateway-1": [80.0, 100.0, 101.0, 102.0, 103.0, 104.0], "worker": [50.0, 60.0, 60.0, 60.0, 60.0, 72.0]},
)


def test_growth_is_counted_from_a_tenth_of_the_run() -> None:
    assert SERIES.at("gateway-1", 0.1) == 100.0
    assert SERIES.at("gateway-1", 1.0) == 104.0
    assert SERIES.growth("gateway-1") == pytest.approx(0.04)


def test_the_table_has_every_process_and_judges_the_gateway() -> None:
    made = table(SERIES)
    assert [row[0] for row in made.rows] == ["gateway-1", "worker"]
    assert made.rows[1][-2:] == ("72.0", "+20.0%")
    assert {len(row) for row in made.rows} == {len(made.columns)}
    assert "goal gateway grows by less than 5%, in %: 4.0, met" in made.notes
    assert "goal gateway stays below 250 MB, at most: 104.0, met" in made.notes


def test_a_gateway_that_grows_is_seen() -> None:
    leaking = Series(answers=[0, 100, 1000], memory={"gateway-1": [80.0, 100.0, 300.0]})
    notes = table(leaking).notes
    assert [note.rpartition(", ")[2] for note in notes if note.startswith("goal")] == ["not met", "not met"]


def test_no_prompt_comes_twice_and_every_key_sends_plain_and_streamed_requests() -> None:
    keys = ["tx-a", "tx-b"]
    sent = [request.partition(b"\r\n\r\n") for request in requests(keys, 4 * STREAM_EVERY)]
    bodies = [json.loads(body) for _, _, body in sent]
    assert len({body["messages"][0]["content"] for body in bodies}) == len(sent)
    kinds = {(key, body["stream"]) for (head, _, _), body in zip(sent, bodies, strict=True) for key in keys if key.encode() in head}
    assert kinds == {(key, stream) for key in keys for stream in (True, False)}


def test_the_picture_has_a_line_for_each_process() -> None:
    assert picture(SERIES).count("<polyline") == 2


def test_a_process_that_has_died_ends_the_run() -> None:
    watch = Watch({"gateway-1": 2**22 + 1}, 10)
    with pytest.raises(AssertionError, match="gateway-1 has died"):
        watch.look(0)
