"""Peers in environments of their own: once, and with a clear word when it does not work."""

import sys
from pathlib import Path

import pytest

from bench import installs, processes
from bench.installs import PeerUnavailable, cache, complaint, once, portkey, program, run

NO_NETWORK = "no network"


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(processes, "OUT", tmp_path / "out")
    monkeypatch.setattr(installs, "OUT", tmp_path / "out")
    return tmp_path / "out"


def test_peers_lie_in_the_folder_of_the_data() -> None:
    assert cache({}) == processes.ROOT / ".taximeter" / "peers"
    assert cache({"TAXIMETER_HOME": "/srv/taximeter"}) == Path("/srv/taximeter/peers")


def test_what_is_installed_is_not_installed_again_and_what_was_interrupted_is(tmp_path: Path) -> None:
    home = tmp_path / "peer-1.0"
    done: list[str] = []

    def interrupted() -> None:
        (home / "half").touch()
        raise PeerUnavailable(NO_NETWORK)

    with pytest.raises(PeerUnavailable):
        once(home, interrupted)
    once(home, lambda: done.append("first"))
    once(home, lambda: done.append("second"))
    assert done == ["first"]
    assert not (home / "half").exists()


def test_a_machine_without_node_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PeerUnavailable, match=r"npm is not on the PATH; install Node\.js"):
        portkey(tmp_path / "peers")
    assert not (tmp_path / "peers").exists()


def test_a_program_is_found_on_the_path() -> None:
    assert Path(program("sh")).name == "sh"


def test_a_step_that_fails_says_why_and_where_the_rest_stands(logs: Path) -> None:
    script = "print('Collecting thing'); print('ERROR: no matching distribution'); print('bye'); raise SystemExit(3)"
    with pytest.raises(PeerUnavailable, match=r"a-step failed: ERROR: no matching distribution; see bench/out/a-step\.log"):
        run("a-step", [sys.executable, "-c", script])
    assert "Collecting thing" in (logs / "a-step.log").read_text(encoding="utf-8")


def test_the_complaint_is_the_last_line_when_none_speaks_of_an_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\ntwo\n\n", encoding="utf-8")
    assert complaint(log) == "two"
    log.write_text("", encoding="utf-8")
    assert complaint(log) == "it printed nothing"
