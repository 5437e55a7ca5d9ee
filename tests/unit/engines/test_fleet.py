"""The upstreams file: each mistake is one line that names the file, the entry and what to do."""

from pathlib import Path

import pytest

from taximeter.engines.fleet import build_fleet
from taximeter.engines.openai_http import OpenAIEngine, OpenAIVideoEngine
from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import Settings

CHAT = "{name: pool, base_url: 'http://10.0.0.7:8000/v1'}"


def settings(folder: Path, *entries: str) -> Settings:
    path = folder / "upstreams.yaml"
    path.write_text(f"upstreams: [{', '.join(entries)}]", encoding="utf-8")
    return Settings(upstreams_file=str(path), engine_hosts='{"demo-text": "http://127.0.0.1:1"}')


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ((CHAT, CHAT), r"entry 2 \('pool'\): another entry has this name; give each its own"),
        (("{name: demo-text, base_url: 'http://host/v1'}",), r"entry 1 \('demo-text'\): an engine of this name runs here already"),
        (("{name: '', base_url: 'http://host/v1'}",), r"entry 1 \(''\): its name is empty"),
        (
            (CHAT, "{name: far, base_url: 'http://host:70000/v1'}"),
            r"entry 2 \('far'\): base_url 'http://host:70000/v1' .*Port out of range.*correct it",
        ),
        (("{name: far, base_url: 'http://host:x/v1', videos: {}}",), r"entry 1 \('far'\): base_url .*correct it"),
        (("{name: far, base_url: 'http://host:0/v1'}",), r"entry 1 \('far'\): base_url .*correct it"),
        (("{name: far, base_url: 'ftp://host/v1'}",), r"entry 1 \('far'\): base_url .*not an http\(s\) address"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named_with_its_file(tmp_path: Path, entries: tuple[str, ...], said: str) -> None:
    with pytest.raises(SetupError, match=said) as caught:
        build_fleet(settings(tmp_path, *entries), {})
    assert str(caught.value).startswith(f"upstreams file {tmp_path / 'upstreams.yaml'}, ")
    assert "\n" not in str(caught.value)


def test_the_key_videos_makes_an_upstream_for_videos_also_with_nothing_under_it(tmp_path: Path) -> None:
    films = "{name: films, base_url: 'https://host/v1', videos: }"
    fleet = build_fleet(settings(tmp_path, CHAT, films), {})
    assert isinstance(fleet["films"], OpenAIVideoEngine)
    assert isinstance(fleet["pool"], OpenAIEngine)


@pytest.mark.parametrize(("extra", "slots"), [("", None), (", concurrent_max: 64", 64), (", concurrent_max: 3, videos: {}", 3)])
def test_an_upstream_has_as_many_places_as_its_operator_says(tmp_path: Path, extra: str, slots: int | None) -> None:
    entry = "{name: pool, base_url: 'http://10.0.0.7:8000/v1'" + extra + "}"
    assert build_fleet(settings(tmp_path, entry), {})["pool"].slots == slots


def test_an_upstream_without_places_is_none(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="concurrent_max"):
        build_fleet(settings(tmp_path, "{name: pool, base_url: 'http://10.0.0.7:8000/v1', concurrent_max: 0}"), {})
