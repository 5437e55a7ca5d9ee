"""The command line as such: finding the command, exit codes, one line for what is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import taximeter
from taximeter.cli import COMMANDS, EXIT_CONFIG, main


def test_version_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith(f"taximeter {taximeter.__version__} (Python 3.")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    page = capsys.readouterr().out
    assert [name for name in COMMANDS if f"\n    {name}" not in page] == []


@pytest.mark.parametrize("arguments", [[], ["fly"], ["topup"], ["topup", "prj_x", "-5"], ["serve", "--fly"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: taximeter" in capsys.readouterr().err


def test_a_wrong_setting_is_one_line_and_the_exit_code_for_set_up(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIMETER_PORT", "eighty")
    assert main(["version"]) == EXIT_CONFIG
    assert capsys.readouterr().err == "taximeter: TAXIMETER_PORT='eighty' is not a valid int; correct or unset it\n"


def test_output_that_nobody_reads_is_no_error() -> None:
    source = str(Path(taximeter.__file__).parents[1])
    command = f'"{sys.executable}" -m taximeter.cli quote --help | true; exec "{sys.executable}" -m taximeter.cli --help | head -1'
    done = subprocess.run(["/bin/sh", "-c", command], env={**os.environ, "PYTHONPATH": source}, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("usage: taximeter")
