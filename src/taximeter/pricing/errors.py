"""Refusals of pricing.

NotFound (kernel)         404
  ModelNotFound           404 model_not_found
Refusal (kernel)
  ModelNotPriced          403 model_not_priced
    CurrencyNotPriced     403 currency_not_priced
    PlanNotPriced         403 plan_not_priced
  VersionIsPublished      409 version_is_published
InvalidRequest (kernel)   400
  CardNotFound            400 card_not_found
  TierNotOffered          400 service_tier_not_offered
  UnknownPlan             400 unknown_plan
  UnknownCurrency         400 unknown_currency
  CatalogInvalid          400 catalog_invalid
"""

from collections.abc import Sequence
from dataclasses import dataclass

from taximeter.kernel.errors import InvalidRequest, NotFound, Refusal


class ModelNotFound(NotFound):
    """The catalog has no model of this name."""

    code = "model_not_found"


class ModelNotPriced(Refusal):
    """The model has no price that is in force, or its price does not cover the work; an unknown price is never zero."""

    code = "model_not_priced"
    status = 403
    openai_type = "permission_error"


class CardNotFound(InvalidRequest):
    """The model has no rate card of this name; the message lists those it has."""

    code = "card_not_found"


class CurrencyNotPriced(ModelNotPriced):
    """The tariff has no price in the project's currency; the message lists those it has."""

    code = "currency_not_priced"


class PlanNotPriced(ModelNotPriced):
    """The tariff has no price for the project's plan, or the plan is not in force."""

    code = "plan_not_priced"


class TierNotOffered(InvalidRequest):
    """The model cannot be asked for this service tier; the message lists those it offers."""

    code = "service_tier_not_offered"


class UnknownPlan(InvalidRequest):
    """No plan of this name is in force; the message lists those that are."""

    code = "unknown_plan"


class UnknownCurrency(InvalidRequest):
    """There is no such currency."""

    code = "unknown_currency"


class VersionIsPublished(Refusal):
    """A catalog entry was changed under a version that is already published; raise its version."""

    code = "version_is_published"
    status = 409


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a catalog, and where it stands."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        """``FILE:LINE: message``, as compilers write it; without the line where there is none."""
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class CatalogInvalid(InvalidRequest):
    """A catalog has faults; ``problems`` holds every one of them."""

    code = "catalog_invalid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
