"""The comparison with peers: ratios, verdicts, and a peer that cannot run."""

from contextlib import ExitStack

from bench import load
from bench.contenders import Contender
from bench.gateway import Cell
from bench.installs import PeerUnavailable
from bench.peers import LITELLM, MODE, OURS, PORTKEY, Contest, Peer, Plan, opened, ratio, table

PLAN = Plan(rounds=2, seconds=1.0, warm_up_s=1.0, connections=(32,))

NO_NETWORK = "no network"


def contest(**rates: list[float]) -> Contest:
    made = Contest([Contender(name, f"about {name}", 1) for name in rates], {})
    for name, values in rates.items():
        made.race.cells[MODE, 32, name] = [Cell(rate, 1000 / rate, 2000 / rate, 500.0, None) for rate in values]
        made.resident_mb[name] = 100.0
    return made


def test_a_ratio_is_taken_within_a_round() -> None:
    race = contest(taximeter=[2600, 2400], litellm=[100, 80]).race
    found = ratio(race, 32, OURS, LITELLM)
    assert found is not None
    assert (found.low, found.high) == (26, 30)
    assert ratio(race, 32, OURS, PORTKEY) is None


def test_the_goals_are_judged_and_a_missing_peer_says_why() -> None:
    made = contest(taximeter=[2600, 2400], litellm=[100, 80])
    made.missing[PORTKEY] = "npm is not on the PATH"
    found = table(made, PLAN)
    assert any(note.startswith("goal at 32 connections, requests/s >= 25 x litellm: 28.0, met") for note in found.notes)
    assert any("p99 below litellm's" in note and note.endswith(", met") for note in found.notes)
    assert "goal at 32 connections, >= 2.5 x portkey: not measured" in found.notes
    assert "portkey did not run: npm is not on the PATH" in found.notes
    rows = {row[0].split()[-1]: row for row in found.rows}
    assert rows["litellm"][2] == "1"
    assert rows["portkey"][1] == "did not run"
    assert {len(row) for row in found.rows} == {len(found.columns)}


def test_a_peer_gets_the_same_question_with_its_own_headers() -> None:
    peer = Peer("portkey", "", 1, "none", headers={"x-portkey-provider": "openai"})
    plain = Contender("mock", "", 1).target(MODE).request.partition(b"\r\n\r\n")
    head, _, body = peer.target(MODE).request.partition(b"\r\n\r\n")
    assert body == plain[2]
    assert head.endswith(b"authorization: Bearer none\r\nx-portkey-provider: openai")


def test_a_peer_that_cannot_run_is_left_out_and_what_it_started_is_stopped() -> None:
    made, stopped = contest(taximeter=[1.0]), []

    def failing(stack: ExitStack) -> Peer:
        stack.callback(lambda: stopped.append("its process"))
        raise PeerUnavailable(NO_NETWORK)

    with opened(PORTKEY, failing, made):
        assert stopped == ["its process"]
    assert made.missing == {PORTKEY: "no network"}
    assert [contender.name for contender in made.contenders] == ["taximeter"]


def test_a_request_has_the_headers_it_is_given() -> None:
    assert b"\r\nx-more: 1\r\n\r\n{}" in load.post("/v1", b"{}", headers={"x-more": "1"})
