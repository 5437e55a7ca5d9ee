"""Past usage by two cards or tariffs, in Tokens and in money, for people and for programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from taximeter.cli.cards.tables import percent
from taximeter.cli.table import count, print_table
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens
from taximeter.metering.comparison import Comparison, Customer, Left, MoneySums, Sums
from taximeter.pricing.currencies import money_text

LEFT_SHOWN = 20
Groups = Sequence[tuple[tuple[str, ...], Sums]]
"""Sums, each with its name: a model, or an organisation and a project."""


@dataclass(frozen=True, slots=True)
class UsageComparison:
    """Both, and what was found.

    Attributes:
        ids: ``name@version`` of the first and the second.
        kind: what they are.
        found: the sums.
        names: of the customers among them.
    """

    ids: tuple[str, str]
    kind: Literal["cards", "tariffs"]
    found: Comparison
    names: Mapping[UUID, Customer]

    @property
    def counted(self) -> str:
        """What the Tokens are."""
        return "Tokens" if self.kind == "cards" else "Tokens charged"

    def customer(self, project: UUID) -> tuple[str, str]:
        """Organisation and project by their names."""
        return self.names[project].organisation, self.names[project].project

    def models(self) -> Groups:
        """By model, biggest change first."""
        return [((model,), sums) for model, sums in self.found.by_model()]

    def customers(self) -> Groups:
        """By customer, biggest change first."""
        return [(self.customer(project), sums) for project, sums in self.found.by_customer()]


def show_usage(compared: UsageComparison, limit: int) -> None:
    """Totals, tables by model and by customer, in Tokens and in money, and what was left out."""
    found = compared.found
    total = found.total()
    print(f"A {compared.ids[0]}, B {compared.ids[1]}: {count(total.receipts, 'receipt')} by both {compared.kind}")
    if total.receipts:
        share = percent(total.dearer, total.receipts)
        print(f"{format_tokens(total.first_utok)} {compared.counted} by A, {format_tokens(total.second_utok)} by B: {_change(total)}")
        for currency, money in sorted(total.money.items()):
            print(f"{_amount(money.first_nano, currency)} by A, {_amount(money.second_nano, currency)} by B: {_money_change(money, currency)}")
        print(f"{share} of the receipts get dearer, {percent(total.cheaper, total.receipts)} cheaper")
        _show_groups("model", compared.models(), ("model",), compared.counted, limit)
        _show_groups("customer", compared.customers(), ("organisation", "project"), compared.counted, limit)
        _show_money("model", compared.models(), ("model",), limit)
        _show_money("customer", compared.customers(), ("organisation", "project"), limit)
    nothing = "" if total.receipts else ", so that there is nothing to compare"
    _show_left(found.left_out, f"left out{nothing}")
    _show_left(found.unpriced, "in no sum of money")


def _show_groups(kind: str, groups: Groups, head: Sequence[str], counted: str, limit: int) -> None:
    print(f"\nBy {kind}, biggest change first")
    titles = (*head, "receipts", f"{counted} by A", f"{counted} by B", "difference", "change", "dearer")
    print_table(titles, [(*name, *_cells(sums)) for name, sums in groups[:limit]])
    if len(groups) > limit:
        rest = Sums()
        for _, sums in groups[limit:]:
            rest.merge(sums)
        print(f"and {len(groups) - limit} more, together {format_tokens(rest.difference_utok)} Tokens; --limit shows them")


def _show_money(kind: str, groups: Groups, head: Sequence[str], limit: int) -> None:
    for currency in sorted({currency for _, sums in groups for currency in sums.money}):
        rows = _by_money([(name, sums.money[currency]) for name, sums in groups if currency in sums.money])
        print(f"\nIn {currency} by {kind}, biggest change first")
        titles = (*head, "receipts", f"{currency} by A", f"{currency} by B", "difference", "change")
        print_table(titles, [(*name, *_money_cells(money, currency)) for name, money in rows[:limit]])
        if len(rows) > limit:
            rest = sum(money.difference_nano for _, money in rows[limit:])
            print(f"and {len(rows) - limit} more, together {_amount(rest, currency)}; --limit shows them")


def _by_money(rows: Sequence[tuple[tuple[str, ...], MoneySums]]) -> list[tuple[tuple[str, ...], MoneySums]]:
    return sorted(rows, key=lambda row: (-abs(row[1].difference_nano), row[0]))


def _show_left(counts: Mapping[Left, int], what: str) -> None:
    left = sorted(counts.items(), key=lambda item: (-item[1], item[0].model, item[0].reason))
    if left:
        print(f"\n{count(sum(counts.values()), 'receipt')} {what}; by model, with the reason:")
    for reason, number in left[:LEFT_SHOWN]:
        print(f"  {number} of {reason.model}: {reason.reason}")
    if len(left) > LEFT_SHOWN:
        print(f"  and {count(len(left) - LEFT_SHOWN, 'reason')} more; --json has them all")


def _cells(sums: Sums) -> Iterator[str]:
    yield str(sums.receipts)
    yield format_tokens(sums.first_utok)
    yield format_tokens(sums.second_utok)
    yield format_tokens(sums.difference_utok)
    yield percent(sums.difference_utok, sums.first_utok, signed=True)
    yield percent(sums.dearer, sums.receipts)


def _money_cells(money: MoneySums, currency: str) -> Iterator[str]:
    yield str(money.receipts)
    for amount_nano in (money.first_nano, money.second_nano, money.difference_nano):
        yield money_text(amount_nano, currency)
    yield percent(money.difference_nano, money.first_nano, signed=True)


def _change(total: Sums) -> str:
    relative = percent(total.difference_utok, total.first_utok, signed=True)
    return _signed(total.difference_utok, f"{format_tokens(total.difference_utok)} Tokens", relative)


def _money_change(money: MoneySums, currency: str) -> str:
    relative = percent(money.difference_nano, money.first_nano, signed=True)
    return _signed(money.difference_nano, _amount(money.difference_nano, currency), relative)


def _signed(difference: int, text: str, relative: str) -> str:
    return ("+" if difference > 0 else "") + text + (f" ({relative})" if relative else "")


def _amount(amount_nano: int, currency: str) -> str:
    return f"{money_text(amount_nano, currency)} {currency}"


def usage_json(compared: UsageComparison) -> dict[str, Any]:
    """Everything, complete; Tokens as decimal texts, money as texts of whole billionths."""
    found = compared.found
    return {
        "a": compared.ids[0],
        "b": compared.ids[1],
        "compared": compared.kind,
        "total": _sums_json(found.total()),
        "by_model": [{"model": model, **_sums_json(sums)} for model, sums in found.by_model()],
        "by_customer": [
            {
                "project": encode_id("prj", project),
                "project_name": compared.customer(project)[1],
                "organisation": compared.customer(project)[0],
                **_sums_json(sums),
            }
            for project, sums in found.by_customer()
        ],
        "left_out": _left_json(found.left_out),
        "without_money": _left_json(found.unpriced),
    }


def _left_json(counts: Mapping[Left, int]) -> list[dict[str, Any]]:
    return [{"model": left.model, "reason": left.reason, "receipts": number} for left, number in counts.items()]


def _sums_json(sums: Sums) -> dict[str, Any]:
    return {
        "receipts": sums.receipts,
        "dearer": sums.dearer,
        "cheaper": sums.cheaper,
        "tokens_a": format_tokens(sums.first_utok),
        "tokens_b": format_tokens(sums.second_utok),
        "tokens_difference": format_tokens(sums.difference_utok),
        "money": [
            {
                "currency": currency,
                "receipts": money.receipts,
                "nano_a": str(money.first_nano),
                "nano_b": str(money.second_nano),
                "nano_difference": str(money.difference_nano),
            }
            for currency, money in sorted(sums.money.items())
        ],
    }
