"""Set-up as a user sees it: one command starts everything, one signal ends everything, one line says what is wrong."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import taximeter
from tests.support.server import READY_S, STOP_S, Run, clean_environ, free_port, make_folder, postmaster, remove_folder, wait_until


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    path = make_folder()
    yield path
    remove_folder(path)


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(name: str, **environ: str) -> Run:
        runs.append(Run(folder / name, **environ))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


def test_serve_becomes_ready_writes_the_demo_file_and_keeps_the_key_over_a_restart(serve: Callable[..., Run]) -> None:
    first = serve("kept").wait_until_ready()
    assert first.get("/readyz")[0] == 200
    demo = first.demo()
    assert set(demo) >= {"OPENAI_BASE_URL", "OPENAI_API_KEY", "TAXIMETER_URL", "TAXIMETER_ADMIN_KEY", "TAXIMETER_HOME"}
    assert demo["OPENAI_BASE_URL"] == f"http://127.0.0.1:{first.port}/v1"
    assert stat.S_IMODE((first.home / "demo.env").stat().st_mode) == 0o600
    assert stat.S_IMODE((first.home / "run" / "state.json").stat().st_mode) == 0o600
    status, body = first.get("/v1/wallet", demo["OPENAI_API_KEY"])
    assert status == 200
    family = first.family()
    assert len(family) >= 6
    # Another folder, and nothing known but what the file says.
    command = ["/bin/sh", "-c", 'set -a; . "$0"; exec "$@"', str(first.home / "demo.env"), sys.executable, "-m", "taximeter.cli"]
    environ = {**clean_environ(), "PYTHONPATH": first.environ["PYTHONPATH"]}
    asked = [*command, "keys", "list", "--project", "demo"]
    listed = subprocess.run(asked, cwd=first.home.parent, env=environ, capture_output=True, text=True, timeout=READY_S, check=False)
    assert "demo.env" in listed.stdout, listed.stderr
    assert not (first.home.parent / ".taximeter").exists()

    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(STOP_S) == 0
    assert first.family() == set()
    assert not (first.home / "run" / "state.json").exists()

    second = serve("kept").wait_until_ready()
    assert second.demo()["OPENAI_API_KEY"] == demo["OPENAI_API_KEY"]
    assert second.demo()["TAXIMETER_ADMIN_KEY"] == demo["TAXIMETER_ADMIN_KEY"]
    assert json.loads(second.get("/v1/wallet", demo["OPENAI_API_KEY"])[1])["balance"] == json.loads(body)["balance"]


def test_a_killed_supervisor_leaves_nothing_behind_and_the_next_start_recovers(serve: Callable[..., Run]) -> None:
    first = serve("killed", TAXIMETER_DEMO="0").wait_until_ready()
    assert len(first.family()) >= 4
    first.process.kill()
    first.process.wait()
    wait_until(lambda: first.family() == set(), STOP_S, first.text)
    assert serve("killed", TAXIMETER_DEMO="0").wait_until_ready().get("/readyz")[0] == 200


def test_a_child_that_dies_is_started_again(serve: Callable[..., Run]) -> None:
    run = serve("revived", TAXIMETER_DEMO="0").wait_until_ready()
    first = run.pid_of("gateway-1")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: "gateway-1" in run.text() and "starting it again" in run.text(), STOP_S, run.text)
    wait_until(lambda: run.pid_of("gateway-1") != first, STOP_S, run.text)
    # The listening socket outlives the gateway: callers wait instead of being refused.
    assert run.get("/readyz")[0] == 200


def test_the_database_that_dies_is_started_again(serve: Callable[..., Run]) -> None:
    run = serve("revived", TAXIMETER_DEMO="0").wait_until_ready()
    first = postmaster(run.home)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: postmaster(run.home) not in {0, first} and run.get("/readyz")[0] == 200, STOP_S, run.text)


def test_a_second_server_on_the_same_folder_is_refused(serve: Callable[..., Run]) -> None:
    run = serve("revived", TAXIMETER_DEMO="0").wait_until_ready()
    line = refused(TAXIMETER_HOME=str(run.home), TAXIMETER_PORT=str(free_port()))
    assert f"already running (pid {run.process.pid})" in line


def test_a_taken_port_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refused(TAXIMETER_HOME=str(folder / "port"), TAXIMETER_PORT=str(port))
    assert f"port {port}" in line
    assert "TAXIMETER_PORT" in line


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "a file").write_text("", encoding="ascii")
    line = refused(TAXIMETER_HOME=str(folder / "a file" / "home"))
    assert "TAXIMETER_HOME" in line
    assert "a file" in line


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me:secretword@127.0.0.1:1/nothing", "TAXIMETER_DATABASE_URL"),
        ("postgresql://me:secretword@no-such-host.invalid/nothing", "TAXIMETER_DATABASE_URL"),
        ("mysql://me:secretword@127.0.0.1/nothing", "TAXIMETER_DATABASE_URL"),
    ],
)
def test_a_wrong_database_url_is_one_line_without_the_password(folder: Path, url: str, expected: str) -> None:
    line = refused(TAXIMETER_HOME=str(folder / "url"), TAXIMETER_DATABASE_URL=url, TAXIMETER_DEMO="0")
    assert expected in line
    assert "secretword" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TAXIMETER_PORT", "eighty"),
        ("TAXIMETER_PORT", "70000"),
        ("TAXIMETER_DEMO", "maybe"),
        ("TAXIMETER_LOG_LEVEL", "loud"),
        ("TAXIMETER_HOST", "nowhere.invalid"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(folder: Path, name: str, value: str) -> None:
    line = refused(**{"TAXIMETER_HOME": str(folder / "settings"), name: value})
    assert name in line
    assert value in line


def refused(**environ: str) -> str:
    """Run `taximeter serve`, which must refuse; returns the one line it prints on standard error."""
    source = str(Path(taximeter.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "taximeter.cli", "serve"],
        env={**clean_environ(), "PYTHONPATH": source, "TAXIMETER_PORT": str(free_port()), **environ},
        capture_output=True,
        text=True,
        timeout=READY_S,
        check=False,
        cwd="/",
    )
    assert done.returncode not in {0, 1}, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr
