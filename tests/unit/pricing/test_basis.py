"""What a card's figures rest on: said by it, or known of those that were published before it could."""

from datetime import UTC, datetime

import pytest

from taximeter.pricing.documents import from_body
from taximeter.pricing.errors import CatalogInvalid
from taximeter.pricing.model import RateCard
from taximeter.pricing.yaml_source import builtin_dir, load_dir, load_text

CARD = """kind: rate_card
name: {name}
version: {version}
effective_from: 2026-01-01
lines: [{{label: Speech, quantity: audio_frames, tokens: 1}}]
"""


def cards() -> dict[str, RateCard]:
    entries = (document.entry for document in load_dir(builtin_dir()))
    return {entry.id: entry for entry in entries if isinstance(entry, RateCard)}


def test_a_card_says_what_it_rests_on_and_one_that_says_nothing_is_a_list_price() -> None:
    [plain, said] = load_text(CARD.format(name="mine", version=1) + "---\n" + CARD.format(name="mine", version=2) + "basis: calibrated\n")
    assert [document.entry.basis for document in (plain, said) if isinstance(document.entry, RateCard)] == ["list", "calibrated"]
    assert from_body(said.body).entry == said.entry


def test_a_basis_that_is_none_is_refused() -> None:
    with pytest.raises(CatalogInvalid, match="basis is 'measured'; it must be one of calibrated, indicative, list"):
        load_text(CARD.format(name="mine", version=1) + "basis: measured\n")


def test_a_published_card_that_could_not_say_it_yet_has_what_its_notes_say_and_keeps_its_digest() -> None:
    [document] = load_text(CARD.format(name="kokoro-82m-calibrated", version=1))
    assert isinstance(document.entry, RateCard)
    assert document.entry.basis == "indicative"
    assert "basis" not in document.body
    [another] = load_text(CARD.format(name="kokoro-82m-calibrated", version=7))
    assert isinstance(another.entry, RateCard)
    assert another.entry.basis == "list", "a version of somebody's own says it for itself"


def test_the_built_in_cards_never_claim_a_measurement_that_was_not_made() -> None:
    by_basis: dict[str, set[str]] = {"calibrated": set(), "indicative": set(), "list": set()}
    for card in cards().values():
        by_basis[card.basis].add(card.name)
        if "Indicative" in card.notes or "Assumptions:" in card.notes:
            assert card.basis == "indicative", card.id
    assert by_basis["calibrated"] == set()
    assert by_basis["list"] == {
        "sketch-video-calibrated",
        "speech-article-v1",
        "speech-by-character-list",
        "speech-by-second-list",
        "text-article-v1",
        "video-article-v1",
        "video-article-v1-dense",
        "video-article-v1-formula",
    }
    new = datetime(2026, 11, 22, tzinfo=UTC)
    since = [document for document in load_dir(builtin_dir()) if isinstance(document.entry, RateCard) and document.entry.effective_from >= new]
    assert all('"basis"' in document.body for document in since), "a new card says it itself"
