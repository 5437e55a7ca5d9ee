"""The documents are true where a machine can tell: links, named tests, commands, the picture, decisions, dependencies."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import taximeter
from taximeter.cli import COMMANDS

ROOT = Path(__file__).parents[2]
# Folders that hold other people's documents, or none.
LEFT_OUT = {"node_modules", "dist", "build"}
PAGES = sorted(path for path in ROOT.rglob("*.md") if not {part for part in path.relative_to(ROOT).parts if part.startswith(".") or part in LEFT_OUT})
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)(?:\s+\"([^\"]*)\")?\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
DECISION_LINES_MAX = 40
DOMAIN_README_LINES_MAX = 80
README_LINES_MAX = 130


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def links(path: Path) -> Iterator[tuple[str, Path, str, str]]:
    """Text, target file, anchor and title of each link to something in the repository."""
    for text, target, title in LINK.findall(prose(path)):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield text, (path.parent / file).resolve() if file else path, anchor, title


def anchors(path: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-") for heading in headings}


def written_tests(path: Path) -> set[str]:
    return set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))


def named_tests(path: Path) -> Iterator[tuple[str, Path]]:
    """Each test that a page names, by the sentence that is its link, or by the link's title."""
    for text, target, _, title in links(path):
        if target.suffix == ".py" and target.name.startswith("test_") and not text.startswith(("tests/", "`")):
            yield title or "test_" + re.sub(r"\W+", "_", text.lower()), target


def console_lines(path: Path) -> Iterator[str]:
    """What a page tells its reader to type: lines after ``$`` in blocks, and code within the prose."""
    text = path.read_text(encoding="utf-8")
    for block in FENCE.findall(text):
        yield from re.findall(r"^\$ (.+)$", block, re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_link_leads_somewhere(path: Path) -> None:
    broken = [f"{text} -> {target}" for text, target, _, _ in links(path) if not target.exists()]
    assert broken == []
    lost = [f"{text} -> {target.name}#{anchor}" for text, target, anchor, _ in links(path) if anchor and anchor not in anchors(target)]
    assert lost == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_test_that_is_named_exists(path: Path) -> None:
    assert [f"{test} in {name_of(file)}" for test, file in named_tests(path) if test not in written_tests(file)] == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_verb_and_command_that_is_named_exists(path: Path) -> None:
    verbs = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    typed = [re.sub(r"^(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?", "", line.partition(" #")[0].strip()) for line in console_lines(path)]
    made = [word for line in typed if line.startswith("make ") for word in line.partition(" ARGS=")[0].split()[1:] if "=" not in word]
    ran = [line.split()[1] for line in typed if re.match("taximeter [a-z]", line)]
    unknown = [word for word in made if word not in verbs] + [word for word in ran if word not in COMMANDS]
    assert unknown == []


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "README.zh-CN.md"], ids=name_of)
def test_a_front_page_fits_and_begins_with_words(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= README_LINES_MAX
    assert not any("![" in line or "<img" in line for line in lines)


def test_both_front_pages_show_the_same() -> None:
    one, other = (ROOT / "README.md", ROOT / "README.zh-CN.md")
    assert set(named_tests(one)) == set(named_tests(other))
    both = {one, other}
    assert {target for _, target, _, _ in links(one)} - both == {target for _, target, _, _ in links(other)} - both
    shown = [[block for block in FENCE.findall(path.read_text(encoding="utf-8")) if "mermaid" not in block] for path in (one, other)]
    assert shown[0] == shown[1]


def test_the_picture_in_the_architecture_is_that_of_the_package() -> None:
    block = next(block for block in FENCE.findall((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")) if "\nkernel" in block)
    picture = [re.split(r"\s{2,}", line)[0] for line in block.splitlines()[1:-1]]
    assert picture == [line.strip() for line in (taximeter.__doc__ or "").splitlines() if line.startswith("    ")]


def test_decisions_are_numbered_without_gaps_and_short() -> None:
    assert [path.name[:5] for path in DECISIONS] == [f"{number:04}-" for number in range(1, len(DECISIONS) + 1)]
    assert [name_of(path) for path in DECISIONS if len(path.read_text(encoding="utf-8").splitlines()) > DECISION_LINES_MAX] == []


@pytest.mark.parametrize("path", DECISIONS, ids=name_of)
def test_a_decision_says_why_what_else_and_what_checks_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.name[:4]} ")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [name for name in ("Context", "Decision", "Alternatives", "Check") if not any(name in heading for heading in headings)] == []


def test_the_index_lists_every_decision_and_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    listed = {target for _, target, _, _ in links(index)} | {index}
    assert [name_of(path) for path in sorted((ROOT / "docs").rglob("*.md")) if path not in listed] == []


def test_every_dependency_has_its_row() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = {re.split(r"[<>=!;\[ ]", entry)[0] for entry in [*project["dependencies"], *extras["demo"], *extras["nvml"], *extras["vocabularies"]]}
    record = next(path for path in DECISIONS if "dependency" in path.name).read_text(encoding="utf-8")
    rows = {name for row in re.findall(r"^\| (`.+?`) \|", record, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}
    assert rows == wanted


def test_every_import_contract_is_a_rule_of_style() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    style = (ROOT / "STYLE.md").read_text(encoding="utf-8")
    assert [contract["id"] for contract in contracts if f"`{contract['id']}`" not in style] == []
    rules = re.findall(r"^\d+\. .*?(?=^\d+\. |\Z)", style, re.MULTILINE | re.DOTALL)
    assert [rule[:40] for rule in rules if "Check:" not in rule] == []


def test_the_page_of_a_domain_is_short() -> None:
    pages = (ROOT / "src" / "taximeter").rglob("README.md")
    assert [name_of(path) for path in pages if len(path.read_text(encoding="utf-8").splitlines()) > DOMAIN_README_LINES_MAX] == []
