"""The page of bugs of others and the regression tests tell the same: every bug once, every test with its story."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operating" / "bugs-of-others.md"
TESTS = ROOT / "tests" / "regressions"
ROW = re.compile(r"^\| ([AB]?\d+) \| (.+?) \| (.+?) \| (.*?) ?\|$", re.MULTILINE)
# A test that is named after whose bug it tries, and its numbers there.
NAMED = re.compile(r"test_(?:(?:litellm|envoy|bifrost|deltallm)(?:_\d+)+_)+[a-z]\w+")
# A number in a tracker, a commit, or a file named by a number.
SOURCE = re.compile(r"#\d+|\b(?=[0-9a-f]*\d)[0-9a-f]{7,12}\b")


def rows() -> dict[str, tuple[str, str, str]]:
    """By number: what went wrong, what prevents it, where it is tried."""
    found = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert len({number for number, *_ in found}) == len(found), "a bug has one row"
    return {number: (wrong, prevents, tried) for number, wrong, prevents, tried in found}


def written() -> dict[str, list[tuple[str, str]]]:
    """By number: names and docstrings of the regression tests."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(TESTS.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                match = re.match(r"test_(b|complaint_)(\d\d)_", node.name)
                assert match is not None, f"{node.name} is named after no bug"
                number = ("B" if match[1] == "b" else "") + str(int(match[2]))
                found.setdefault(number, []).append((node.name, ast.get_docstring(node) or ""))
    return found


def named_after_a_product() -> dict[str, tuple[Path, str]]:
    """Tests of admission, wherever they are: by name, the file and the docstring."""
    found: dict[str, tuple[Path, str]] = {}
    for path in sorted(ROOT.glob("tests/**/test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                assert NAMED.fullmatch(node.name) or TESTS / "admission" not in path.parents, f"{node.name} is named after no product"
                if NAMED.fullmatch(node.name):
                    found[node.name] = (path.relative_to(ROOT), ast.get_docstring(node) or "")
    return found


def test_every_bug_and_every_complaint_has_one_row() -> None:
    numbered = [f"{letter}{number}" for letter, most in (("B", 28), ("", 16), ("A", 9)) for number in range(1, most + 1)]
    assert list(rows()) == numbered


def test_every_row_about_admission_has_its_test_and_every_such_test_its_row() -> None:
    tried = {number: re.findall(r"\((?:\.\./)*(tests/\S+) \"(\w+)\"\)", row[2]) for number, row in rows().items() if number.startswith("A")}
    on_page = {name: (number, Path(path)) for number, tests in tried.items() for path, name in tests}
    there = named_after_a_product()
    assert {name: path for name, (_, path) in on_page.items()} == {name: path for name, (path, _) in there.items()}
    for name, (number, _) in on_page.items():
        reported = set(SOURCE.findall(rows()[number][0]))
        assert reported == {f"#{each}" for each in re.findall(r"_(\d+)", name)}, f"{name} and its row tell of the same reports"
        if "regressions" in there[name][0].parts:
            assert reported <= set(SOURCE.findall(there[name][1])), f"{name} names its sources"
            assert "Here " in there[name][1], f"{name} says what prevents it here"


def test_every_row_names_its_tests_and_every_test_its_row() -> None:
    named = {number: re.findall(r'"(test_(?:b|complaint_)\d\d_\w+)"', tried) for number, (_, _, tried) in rows().items() if number[0] != "A"}
    assert {number: names for number, names in named.items() if names} == {number: [name for name, _ in tests] for number, tests in written().items()}
    without = {number for number, names in named.items() if not names}
    assert without == {number for number, (_, prevents, _) in rows().items() if prevents.startswith("*not yet*: ")}


@pytest.mark.parametrize("number", list(written()))
def test_a_test_tells_the_whole_story_of_its_row(number: str) -> None:
    sources = set(SOURCE.findall(rows()[number][0]))
    for name, story in written()[number]:
        assert "Here " in story, f"{name} says what prevents it here"
        assert sources <= set(SOURCE.findall(story)), f"{name} names its sources"
