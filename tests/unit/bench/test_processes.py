"""Processes of a benchmark: started, asked, measured, stopped."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import load, mock_upstream, processes


def test_the_memory_of_a_process_is_read_while_it_lives() -> None:
    size = processes.resident_bytes(os.getpid())
    assert size is not None
    assert 5_000_000 < size < 5_000_000_000
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert processes.resident_bytes(ended.pid) is None


def test_a_server_of_ours_answers_while_the_block_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "OUT", tmp_path)
    with processes.serving("mock_upstream") as (port, pid):
        answer = asyncio.run(load.ask_once(load.Target(port, load.post("/v1/chat/completions", b"{}"))))
        assert mock_upstream.TEXT.encode() in answer
        assert processes.resident_bytes(pid) is not None
    assert processes.resident_bytes(pid) is None
