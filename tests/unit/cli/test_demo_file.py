"""The file that tells a shell how to use the demo."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from taximeter.cli.supervisor.demo import DemoFile


@pytest.mark.parametrize("folder", ["home", "my data; $HOME 'x'"])
def test_a_shell_that_reads_it_finds_the_server_from_every_folder(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / folder
    home.mkdir()
    monkeypatch.chdir(tmp_path)
    # Named as a relative folder, as a start with TAXIMETER_HOME=.taximeter would.
    file = DemoFile(Path(folder) / "demo.env", "http://127.0.0.1:8000", "tx_admin")
    file.write("tx_key")
    asked = 'set -a; . "$1"; set +a; cd /; printf "%s\\n" "$TAXIMETER_HOME" "$OPENAI_BASE_URL" "$OPENAI_API_KEY" "$TAXIMETER_ADMIN_KEY"'
    done = subprocess.run(
        ["/bin/sh", "-c", asked, "sh", str(home / "demo.env")], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    )
    assert done.stdout.splitlines() == [str(home), "http://127.0.0.1:8000/v1", "tx_key", "tx_admin"]
    assert file.key() == "tx_key"
    assert stat.S_IMODE((home / "demo.env").stat().st_mode) == 0o600
