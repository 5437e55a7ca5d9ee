"""The file of signing keys: made once, readable by its owner alone, and never without its old keys."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taximeter.kernel.errors import SetupError
from taximeter.kernel.key_file import create_keys, key_path, open_keys, read_keys, rotate_keys
from taximeter.kernel.settings import Settings


def test_the_first_start_makes_a_key_and_later_ones_find_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    first = open_keys(settings)
    assert open_keys(settings).signing.id == first.signing.id
    path = key_path(settings)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [each.name for each in path.parent.iterdir()] == ["signing.json"]


def test_of_many_at_once_one_makes_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        ids = set(threads.map(lambda _: open_keys(Settings(home=tmp_path)).signing.id, range(64)))
    assert len(ids) == 1


def test_a_rotation_signs_with_a_new_key_and_keeps_the_old_ones_for_checking(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    create_keys(path)
    ids = [read_keys(path).signing.id, rotate_keys(path).signing.id, rotate_keys(path).signing.id]
    ring = read_keys(path)
    assert [key.id for key in ring.public] == ids[::-1]
    assert [("d" in entry) for entry in json.loads(path.read_text(encoding="utf-8"))["keys"]] == [True, False, False]


def test_a_file_that_a_setting_names_is_never_made_by_itself(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="taximeter signing-keys create"):
        open_keys(Settings(home=tmp_path, signing_keys_file=str(tmp_path / "none.json")))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": [1]}', '{"keys": []}', '{"keys": [{"kty": "OKP"}]}', "\ud800"])
def test_a_file_that_is_something_else_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SetupError) as refused:
        read_keys(path)
    assert "\n" not in str(refused.value)


def test_two_keys_that_sign_are_one_too_many(tmp_path: Path) -> None:
    entries = []
    for name in ("a", "b"):
        create_keys(tmp_path / name)
        entries += json.loads((tmp_path / name).read_text(encoding="utf-8"))["keys"]
    (tmp_path / "both").write_text(json.dumps({"keys": entries}), encoding="utf-8")
    with pytest.raises(SetupError, match="exactly one signs"):
        read_keys(tmp_path / "both")
