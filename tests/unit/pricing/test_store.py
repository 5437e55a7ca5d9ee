"""Snapshots: which version is in force."""

from datetime import UTC, datetime

import pytest

from taximeter.pricing.errors import CardNotFound, ModelNotFound, ModelNotPriced
from taximeter.pricing.store import snapshot
from taximeter.pricing.yaml_source import load_text


def published(*entries: str) -> str:
    return "\n---\n".join(entries)


def card(version: int, day: str, tokens: str = "1") -> str:
    return f"kind: rate_card\nname: card\nversion: {version}\neffective_from: {day}\nlines:\n  - {{label: a, quantity: a, tokens: {tokens}}}"


TARIFF = "kind: tariff\nname: t\nversion: 1\neffective_from: 2026-01-01\ncurrency: USD\nprice_per_token: 1"
MODEL = """kind: model
name: m
version: 1
effective_from: 2026-01-01
modality: chat
meter: {id: text.tokens/1}
default_card: now
cards:
  now: {rate_card: card, tariff: t}
  old: {rate_card: card@1, tariff: t}
  none: {rate_card: nothing, tariff: t}
  free: {rate_card: card, tariff: nothing}"""
JUNE = datetime(2026, 6, 15, tzinfo=UTC)


def test_the_highest_version_in_force_counts() -> None:
    documents = load_text(published(card(3, "2026-07-01"), card(1, "2026-01-01"), card(2, "2026-06-01"), TARIFF, MODEL))
    catalog = snapshot(documents, JUNE, seq=9)
    assert catalog.priced("m").card.id == "card@2"
    assert catalog.priced("m", "old").card.id == "card@1"
    assert (catalog.seq, catalog.next_change) == (9, datetime(2026, 7, 1, tzinfo=UTC))
    later = snapshot(documents, datetime(2026, 7, 1, tzinfo=UTC))
    assert (later.priced("m").card.id, later.next_change) == ("card@3", None)


def test_every_published_version_can_still_be_read() -> None:
    catalog = snapshot(load_text(published(card(1, "2026-01-01"), card(2, "2026-06-01"), card(3, "2027-01-01"))), JUNE)
    assert [catalog.cards[f"card@{version}"].version for version in (1, 2, 3)] == [1, 2, 3]


def test_a_model_that_does_not_exist_or_is_not_in_force_is_not_found() -> None:
    catalog = snapshot(load_text(published(card(1, "2026-01-01"), TARIFF, MODEL.replace("2026-01-01", "2027-01-01"))), JUNE)
    for name in ("nobody", "m"):
        with pytest.raises(ModelNotFound) as caught:
            catalog.priced(name)
        assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")


@pytest.mark.parametrize(
    ("card_text", "choice"),
    [(card(1, "2027-01-01"), "now"), (card(1, "2027-01-01"), "old"), (card(1, "2026-01-01"), "none"), (card(1, "2026-01-01"), "free")],
)
def test_a_model_without_a_price_in_force_is_refused(card_text: str, choice: str) -> None:
    catalog = snapshot(load_text(published(card_text, TARIFF, MODEL)), JUNE)
    with pytest.raises(ModelNotPriced) as caught:
        catalog.priced("m", choice)
    assert (caught.value.status, caught.value.code) == (403, "model_not_priced")


def test_an_unknown_card_is_refused_with_the_list() -> None:
    with pytest.raises(CardNotFound, match="free, none, now, old"):
        snapshot(load_text(published(card(1, "2026-01-01"), TARIFF, MODEL)), JUNE).priced("m", "mine")
