"""Set-up adds torch for the comparison of operations where pip finds a build for processors, and goes on without it elsewhere."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
LOCKED = "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
Checkout = Callable[[str], ModuleType]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """The script, in a checkout whose pip offers torch with this hash and writes down what it is asked to install."""

    def make(sha256: str) -> ModuleType:
        shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
        python = tmp_path / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        report = f'{{"install": [{{"download_info": {{"archive_info": {{"hashes": {{"sha256": "{sha256}"}}}}}}}}]}}'
        python.write_text(f'#!/bin/sh\ncase "$*" in *--dry-run*) echo \'{report}\' ;; *) echo "$@" >>installed ;; esac\n', encoding="ascii")
        python.chmod(0o755)
        monkeypatch.chdir(tmp_path)
        spec = importlib.util.spec_from_file_location("setup_script", ROOT / "scripts" / "setup.py")
        assert spec is not None
        assert spec.loader is not None
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        return script

    return make


def test_a_build_that_stands_in_the_lock_is_installed_once(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    script = checkout(LOCKED)
    script.install_torch()
    script.install_torch()
    installed = Path("installed").read_text(encoding="ascii").splitlines()
    assert len(installed) == 1
    assert installed[0].endswith("--require-hashes -r requirements/torch-cpu.txt -r requirements/torch.txt")
    assert "about 220 MB" in capsys.readouterr().out


def test_another_build_is_not_fetched_and_one_line_says_what_to_set(
    checkout: Checkout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = checkout("0" * 64)
    script.install_torch()
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "tests/flops are left out" in said
    assert "PIP_EXTRA_INDEX_URL" in said
    assert not Path("installed").exists()
    script.install_torch()
    assert capsys.readouterr().out == ""
    # Whoever sets pip up anew is listened to.
    monkeypatch.setenv("PIP_FIND_LINKS", "wheels")
    script.install_torch()
    assert "tests/flops are left out" in capsys.readouterr().out


def test_the_builds_in_the_lock_are_of_the_version_that_the_other_lock_was_made_for() -> None:
    lines = (ROOT / "requirements" / "torch-cpu.txt").read_text(encoding="ascii").splitlines()
    assert [line for line in lines if "==" in line] == ["torch==2.13.0 \\"]
    others = (ROOT / "requirements" / "torch.txt").read_text(encoding="ascii")
    assert not any(line.startswith(("torch==", "nvidia-", "triton==")) for line in others.splitlines())
