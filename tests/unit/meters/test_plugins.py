"""Meters of other packages."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from taximeter import meters
from taximeter.cli import EXIT_CONFIG
from taximeter.kernel.errors import SetupError
from taximeter.meters import MeterUnavailable, plugins, registry

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "meter_plugin"
REQUEST = '{"text": "Guten Tag", "languages": ["fr", "zh"]}'
GOOD = """
class Meter:
    id = {id!r}
    quantities = {{"pages": "pages"}}
    held_as = ()
    def check(self, profile): ...
    def estimate(self, request, profile): ...
    def actual(self, reported, estimate, profile): ...
"""


def package(folder: Path, name: str, source: str, target: str = "Meter") -> None:
    """Install a package of one module with a plug-in, as an installer would."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    info = folder / f"{module}-2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{name} = {module}:{target}\n", encoding="utf-8")


def points(folder: Path) -> list[EntryPoint]:
    found = [point for one in distributions(path=[str(folder)]) for point in one.entry_points]
    assert all(point.group == plugins.GROUP for point in found)
    return found


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that packages are installed into."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def taximeter(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a Python that has the folder's packages."""
    paths = [str(folder), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    command = [sys.executable, "-m", "taximeter.cli", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's package, built as its author would build it, and installed into a folder of its own."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(build, cwd=folder / "source", check=True, capture_output=True, timeout=60)
    (wheel,) = (folder / "dist").glob("pages_meter-*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_the_example_is_installed_and_quoted_by(installed: Path) -> None:
    done = taximeter(installed, "quote", "translator", "-f", str(EXAMPLE / "catalog"), "--request", REQUEST, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    fare = json.loads(done.stdout)
    assert (fare["tokens"], fare["tokens_max"]) == ("28", "32")
    assert fare["work_max"] == {"characters": 9, "pages": 2, "corrected_pages": 2}


def test_the_examples_page_shows_what_it_prints(installed: Path) -> None:
    shown = re.findall(r"```text\n(.*?)```", (EXAMPLE / "README.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    done = taximeter(installed, "quote", "translator", "-f", str(EXAMPLE / "catalog"), "--request", REQUEST)
    assert done.stdout == shown


def test_what_its_meter_refuses_is_told_as_by_any_other(installed: Path) -> None:
    bad = '{"text": "Guten Tag", "languages": ["xx"]}'
    done = taximeter(installed, "quote", "translator", "-f", str(EXAMPLE / "catalog"), "--request", bad)
    assert (done.returncode, done.stderr) == (2, "taximeter quote: languages must be a list of some of de, fr, ja, zh, each once\n")


def test_without_the_package_the_catalogs_line_is_named() -> None:
    with pytest.raises(MeterUnavailable, match=r"pages\.translated/1.*install the package that brings it"):
        meters.get("pages.translated/1")
    assert meters.find("pages.translated/1") is None


def test_a_broken_package_stops_nobody_else_and_is_named_when_it_is_needed(site: Path) -> None:
    package(site, "broken-pages", "raise RuntimeError('no licence\\nfor this machine')")
    assert taximeter(site, "quote", "sketch-video").returncode == 0
    done = taximeter(site, "quote", "translator", "-f", str(EXAMPLE / "catalog"), "--request", REQUEST)
    why = "the plug-in 'broken-pages' of broken-pages 2.1 cannot be loaded: RuntimeError: no licence for this machine"
    assert (done.returncode, done.stderr) == (EXIT_CONFIG, f"taximeter: there is no meter 'pages.translated/1', and {why}\n")


def test_good_meters_are_kept_beside_bad_ones(site: Path) -> None:
    package(site, "good-one", GOOD.format(id="good.one/1"))
    package(site, "made-already", GOOD.format(id="made.already/3") + "meter = Meter()", "meter")
    package(site, "bad-import", "import there_is_no_such_module")
    package(site, "bad-name", "", "Nothing")
    found = plugins.read(points(site), frozenset())
    assert sorted(found.meters) == ["good.one/1", "made.already/3"]
    assert [fault.split(" cannot")[0] for fault in found.faults] == [
        "the plug-in 'bad-import' of bad-import 2.1",
        "the plug-in 'bad-name' of bad-name 2.1",
    ]


@pytest.mark.parametrize("wrong", ["pages", "pages/1", "pages.x", "pages.x/0", "Pages.x/1", "pages.x/1/2", "", "a.b/1\n", 5, "a." + "b" * 99 + "/1"])
def test_an_id_is_a_name_with_a_dot_and_a_version(wrong: object, site: Path) -> None:
    package(site, "odd", GOOD.format(id=wrong))
    found = plugins.read(points(site), frozenset())
    assert dict(found.meters) == {}
    assert found.faults == ("the plug-in 'odd' of odd 2.1 is no meter: its id must be a name with a dot and a version, such as pages.translated/1",)
    sys.modules.pop("odd")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("def check", "def chekk"), "it lacks the method check"),
        (("def actual", "def aktual"), "it lacks the method actual"),
        (('{"pages": "pages"}', "{}"), "its quantities must be"),
        (('{"pages": "pages"}', '["pages"]'), "its quantities must be"),
        (('{"pages": "pages"}', '{"Pages": "pages"}'), "its quantity 'Pages' must"),
        (('{"pages": "pages"}', '{"pages": " "}'), "its quantity 'pages' must"),
        (("held_as = ()", "held_as = (('pages', 'sheets'),)"), "its held_as must"),
        (("held_as = ()", "held_as = [('pages', 'pages')]"), "its held_as must"),
    ],
)
def test_what_is_no_meter_is_refused_with_the_reason(change: tuple[str, str], message: str, site: Path) -> None:
    package(site, "poor", GOOD.format(id="poor.meter/1").replace(*change))
    found = plugins.read(points(site), frozenset())
    assert dict(found.meters) == {}
    assert message in found.faults[0]
    assert "of poor 2.1 is no meter" in found.faults[0]
    sys.modules.pop("poor")


def test_a_built_in_meter_keeps_its_id(site: Path) -> None:
    package(site, "impostor", GOOD.format(id="video.dit/1"))
    found = plugins.read(points(site), frozenset(registry.IDS))
    assert dict(found.meters) == {}
    assert found.faults == ("the plug-in 'impostor' of impostor 2.1 has the id 'video.dit/1' of a built-in meter; give it another",)
    assert type(meters.get("video.dit/1")).__module__ == "taximeter.meters.video_dit"


def test_of_two_with_one_id_neither_is_used(site: Path) -> None:
    package(site, "twin-a", GOOD.format(id="twin.meter/1"))
    package(site, "twin-b", GOOD.format(id="twin.meter/1"))
    found = plugins.read(points(site), frozenset())
    assert dict(found.meters) == {}
    assert found.faults == (
        "the plug-in 'twin-a' of twin-a 2.1 and the plug-in 'twin-b' of twin-b 2.1 have the same id 'twin.meter/1'; remove one of them",
    )


def test_plug_ins_are_looked_for_once_and_found_by_id(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(site, "late-comer", GOOD.format(id="late.comer/1"))
    monkeypatch.setattr(registry, "_plugins", lambda: plugins.read(points(site), frozenset(registry.IDS)))
    assert meters.get("late.comer/1") is not None
    assert meters.find("late.comer/1") is not None
    assert meters.ids() == tuple(sorted({*meters.IDS, "late.comer/1"}))
    assert meters.find("not.there/1") is None
    monkeypatch.setattr(registry, "_plugins", lambda: plugins.Plugins({}, ("the plug-in 'x' of y 1 cannot be loaded",)))
    with pytest.raises(MeterUnavailable, match="'x' of y 1 cannot be loaded"):
        meters.get("late.comer/1")
    with pytest.raises(SetupError, match="'x' of y 1 cannot be loaded"):
        meters.find("late.comer/1")


def test_the_installed_plug_ins_are_read_once() -> None:
    assert plugins.installed(frozenset(registry.IDS)) is plugins.installed(frozenset(registry.IDS))
