"""Two cards over a grid of typical requests of one model, as amounts and as a map."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from taximeter.cli.cards.published import Shelf
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.units import UTOK_PER_TOKEN, round_half_even
from taximeter.metering.comparison import Grid, typical
from taximeter.pricing import ModelEntry, ModelNotPriced, RateCard
from taximeter.pricing.heatmap import Captions, heat_map, ratio_text
from taximeter.pricing.misprice import Amounts, Cell, MispriceMap, consumed, misprice_map
from taximeter.pricing.model import decimal_text

Cards = tuple[RateCard, RateCard]


@dataclass(frozen=True, slots=True)
class GridComparison:
    """Both cards' amounts over a model's grid, and their ratios.

    Attributes:
        model: whose requests they are.
        cards: the first and the second.
        only: the lines of the first card that count; all of them when there is none.
        grid: the requests.
        amounts: micro-Tokens by both cards before rounding, cell by cell.
        found: the ratios.
    """

    model: ModelEntry
    cards: Cards
    only: tuple[str, ...]
    grid: Grid
    amounts: tuple[tuple[Amounts | None, ...], ...]
    found: MispriceMap


def compare(shelf: Shelf, cards: Cards, model_name: str | None, only: Sequence[str], agree_at: str | None) -> GridComparison:
    """Rate a model's typical requests by both cards.

    Raises InvalidRequest, saying what to correct, when the model, a line or a cell is not there, or no model suits both cards.
    """
    labels = [line.label for line in cards[0].lines]
    for label in only:
        if label not in labels:
            message = f"{cards[0].id} has no line {label!r}; it has {', '.join(map(repr, labels))}"
            raise InvalidRequest(message)
    model = _model(shelf, cards, model_name)
    grid = typical(model)
    try:
        amounts = tuple(
            tuple(None if work is None else (consumed(cards[0], work, only), consumed(cards[1], work)) for work in row) for row in grid.works
        )
        found = misprice_map(grid.rows, grid.columns, amounts, _cell(grid, agree_at))
    except (ModelNotPriced, ValueError) as error:
        message = f"{model.name} cannot be compared: {error}"
        raise InvalidRequest(message) from error
    return GridComparison(model=model, cards=cards, only=tuple(only), grid=grid, amounts=amounts, found=found)


def picture(compared: GridComparison) -> str:
    """The misprice map as SVG."""
    first, second = _names(compared.cards)
    found, grid = compared.found, compared.grid
    settled = f", {grid.settled}" if grid.settled else ""
    lines = [f"{compared.model.title or compared.model.name}{settled}."]
    lines.append(f"Numbers: Tokens by {second} over Tokens by {first}" + _scaled(found))
    if compared.only:
        lines.append(f"Of {first} only this counts: {', '.join(compared.only)}.")
    lines.append(_spread(found))
    agrees = found.agree is not None
    captions = Captions(
        title=f"Where {first} asks too much or too little, judged by {second}" if agrees else f"{second} against {first}",
        lines=tuple(lines),
        rows=grid.row_axis,
        columns=grid.column_axis,
        below="asks too much" if agrees else "cheaper",
        above="asks too little" if agrees else "dearer",
    )
    return heat_map(found, captions)


def _spread(found: MispriceMap) -> str:
    if found.spread == 1:
        return "All are equal: the cards differ by the size of their Tokens, or not at all."
    return f"The largest is {ratio_text(found.spread)} times the smallest: no price of a Token makes both cards agree on all of them."


def _names(cards: Cards) -> tuple[str, str]:
    """With versions only where the names alone do not tell the cards apart: a picture outlives a version."""
    first, second = cards
    return (first.id, second.id) if first.name == second.name else (first.name, second.name)


def _scaled(found: MispriceMap) -> str:
    if found.agree is None:
        return "."
    row, column = found.agree
    return f", scaled to 1 at {found.rows[row]}, {found.columns[column]} (framed)."


def amount_text(amount_utok: Fraction) -> str:
    """Tokens of an unrounded amount, with six decimals at most."""
    return decimal_text(Fraction(round_half_even(amount_utok), UTOK_PER_TOKEN)).replace(",", "")


def _model(shelf: Shelf, cards: Cards, name: str | None) -> ModelEntry:
    models = shelf.coming.models
    if name is not None:
        if name not in models:
            message = f"there is no model {name[:100]!r}; there are {', '.join(sorted(models))}"
            raise InvalidRequest(message)
        return models[name]
    wanted = {card.name for card in cards}
    # Those that name the cards first; then whatever they can price.
    candidates = sorted(models.values(), key=lambda model: (-len(wanted & _card_names(model)), model.name))
    for model in candidates:
        if _suits(model, cards):
            return model
    message = f"no model's requests can be priced by both {cards[0].id} and {cards[1].id}: they count different things"
    raise InvalidRequest(message)


def _card_names(model: ModelEntry) -> set[str]:
    return {choice.rate_card.partition("@")[0] for choice in model.cards.values()}


def _suits(model: ModelEntry, cards: Cards) -> bool:
    try:
        work = next(work for row in typical(model).works for work in row if work is not None)
        for card in cards:
            consumed(card, work)
    except (InvalidRequest, ModelNotPriced):
        return False
    return True


def _cell(grid: Grid, text: str | None) -> Cell | None:
    if text is None:
        return None
    row, _, column = text.partition(",")
    column = column.strip()
    if row not in grid.rows or column not in grid.columns:
        message = f"--agree-at {text[:60]!r} is no cell; rows are {', '.join(grid.rows)}; columns are {', '.join(grid.columns)}"
        raise InvalidRequest(message)
    return grid.rows.index(row), grid.columns.index(column)
