"""Nothing that counts speech ever counts in floating point."""

import ast
from pathlib import Path

import pytest

import taximeter.meters

FILES = sorted(path for pattern in ("speech_*.py", "voxcpm*.py", "solver.py") for path in Path(taximeter.meters.__file__).parent.glob(pattern))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_speech_meter_has_a_float_or_divides_into_one(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), f"line {node.lineno}"
        assert not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"), f"line {node.lineno}"
        # The first version divides fractions by fractions, which is exact; the others multiply out.
        assert not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)) or path.stem == "speech_steps", f"line {node.lineno}"


def test_every_file_about_speech_was_looked_at() -> None:
    assert {"speech_steps_v2", "speech_seconds", "speech_characters", "speech_frames", "voxcpm", "voxcpm_audio"} <= {path.stem for path in FILES}
