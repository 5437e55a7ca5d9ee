"""The rules that no linter knows: sizes, names, the picture of the layers, and that everything is documented."""

import ast
import dataclasses
import importlib
import pkgutil
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import taximeter
from taximeter.cli import COMMANDS
from taximeter.kernel.errors import Refusal
from taximeter.kernel.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "taximeter"
FILES = sorted(path for folder in ("src", "tests", "bench", "examples", "scripts") for path in (ROOT / folder).rglob("*.py"))
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
FACE_NAMES_MAX = 15
# Drawers: whatever is put there has a better place.
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc", "shared"}
DOMAINS = ("admission", "billing", "calibration", "identity", "jobs", "ledger", "metering", "meters", "pricing", "transparency")
# Who constructs things may reach behind a face; a domain's own files and the tests do anyway.
COMPOSITION_ROOTS = ("cli", "app", "worker")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def offenders(is_wrong: Callable[[str], bool]) -> list[str]:
    return [name_of(path) for path in FILES if is_wrong(path.read_text(encoding="utf-8"))]


def has_long_function(text: str) -> bool:
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return any((node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX for node in functions)


def subclasses(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def refusals() -> list[type[Refusal]]:
    """Every refusal that has a code, from every module of the product."""
    for module in pkgutil.walk_packages([str(SOURCE)], "taximeter."):
        if not module.name.endswith("__main__") and ".engines.demo" not in module.name:
            importlib.import_module(module.name)
    return [kind for kind in {*subclasses(Refusal)} if hasattr(kind, "code") and kind.__module__.startswith("taximeter.")]


def test_files_are_short() -> None:
    # One that is not becomes a folder of the same name.
    assert offenders(lambda text: len(text.splitlines()) > FILE_LINES_MAX) == []


def test_files_and_folders_have_good_names() -> None:
    assert [name_of(path) for path in FILES if BANNED_NAMES & {path.stem, path.parent.name}] == []


def test_a_file_says_what_it_is_for() -> None:
    assert offenders(lambda text: not ast.get_docstring(ast.parse(text))) == []


def test_functions_fit_on_a_page() -> None:
    assert offenders(has_long_function) == []


def test_comments_leave_nothing_for_later() -> None:
    # The brackets keep this line from finding itself.
    assert offenders(lambda text: re.search(r"#.*\b(?:TOD[O]|FIXM[E]|XX[X]|HAC[K])\b", text) is not None) == []


def test_the_picture_of_the_layers_equals_the_contract() -> None:
    picture = [re.split(r"\s*\|\s*", line.strip()) for line in (taximeter.__doc__ or "").splitlines() if line.startswith("    ")]
    assert picture == [[name.strip("()") for name in re.split(r"\s*\|\s*", layer)] for layer in contract("domains")["layers"]]


def test_a_layer_stands_in_brackets_only_while_it_has_no_code() -> None:
    optional = {name.strip("()") for layer in contract("domains")["layers"] for name in layer.split(" | ") if name.startswith("(")}
    exist = {name for name in optional if (SOURCE / name / "__init__.py").exists() or (SOURCE / f"{name}.py").exists()}
    assert exist == set()


@pytest.mark.parametrize("domain", [name for name in DOMAINS if (SOURCE / name / "__init__.py").exists()])
def test_a_domain_is_used_through_its_face(domain: str) -> None:
    face = importlib.import_module(f"taximeter.{domain}")
    assert len(face.__all__) <= FACE_NAMES_MAX
    behind = re.compile(rf"^\s*(?:from|import) taximeter\.{domain}\.", re.MULTILINE)
    outside = [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0].removesuffix(".py") not in {domain, *COMPOSITION_ROOTS}]
    assert [name_of(path) for path in outside if behind.search(path.read_text(encoding="utf-8"))] == []


def test_every_package_says_what_it_is_for() -> None:
    packages = {path.parent for path in SOURCE.rglob("*.py")}
    assert {name_of(package) for package in packages if not (package / "__init__.py").exists()} == set()


def test_every_refusal_is_documented() -> None:
    rows = dict(re.findall(r"^\| `([a-z_0-9]+)` \| ([0-9]{3})", page("errors"), re.MULTILINE))
    assert {kind.code: str(kind.status) for kind in refusals()} == rows


def test_a_code_means_one_status() -> None:
    statuses: dict[str, set[int]] = {}
    for kind in refusals():
        statuses.setdefault(kind.code, set()).add(kind.status)
    assert {code: found for code, found in statuses.items() if len(found) > 1} == {}


def test_every_setting_is_documented_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(TAXIMETER_[A-Z0-9_]+)` \| *`?([^`|]*?)`? *\|", page("settings"), re.MULTILINE))
    defaults = {PREFIX + field.name.upper(): shown(field.default) for field in dataclasses.fields(Settings)}
    assert rows == defaults


def test_every_command_is_documented() -> None:
    documented = set(re.findall(r"^## `taximeter ([a-z-]+)", page("cli"), re.MULTILINE))
    assert documented == set(COMMANDS)


def test_every_verb_of_the_makefile_has_a_line_of_help() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = set(re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE))
    explained = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    assert verbs == explained


def test_the_locks_name_no_place_to_fetch_from() -> None:
    for path in (ROOT / "requirements").iterdir():
        assert re.findall(r"://|--index|--find-links|--trusted", path.read_text(encoding="utf-8")) == [], path.name


def test_the_files_that_are_kept_have_no_secrets_and_no_data() -> None:
    listed = subprocess.run(["/usr/bin/env", "git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    kept = listed.stdout.splitlines()
    assert [name for name in kept if name.endswith((".env", ".key", ".pem")) or name.startswith((".venv/", ".taximeter/"))] == []


def contract(name: str) -> dict[str, list[str]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = next(item for item in settings["tool"]["importlinter"]["contracts"] if item["id"] == name)
    return found


def page(name: str) -> str:
    return (ROOT / "docs" / "reference" / f"{name}.md").read_text(encoding="utf-8")


def shown(default: object) -> str:
    if isinstance(default, bool):
        return str(int(default))
    return str(default)
