"""Bodies of the admin API: what is sent and what is answered.  The OpenAPI document is made from these."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic_core import PydanticCustomError

from taximeter.admission import budgets, plans
from taximeter.gateway.admin_values import OPERATOR
from taximeter.identity import ApiKey, IssuedKey, Organisation, Project
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens


def _exact(value: Any) -> Any:  # noqa: ANN401 - whatever JSON there is
    """Text and whole numbers as they are; what a union would say of the rest names only one of the two."""
    if isinstance(value, str) or type(value) is int:
        return value
    kind = "tokens"
    message = "Tokens are a whole number, or a decimal string such as '0.5'"
    raise PydanticCustomError(kind, message)


Name = Annotated[str, Field(description="A name for people, 1 to 200 characters.", examples=["Research"])]
Tokens = Annotated[
    StrictStr | StrictInt,
    BeforeValidator(_exact),
    Field(description="Tokens as a decimal string with up to six decimals, or a whole number.", examples=["1000", "0.5"]),
]
Plan = Annotated[str | None, Field(description="A plan of the catalog; what a Token costs may depend on it.", examples=["standard"])]
Currency = Annotated[str | None, Field(description="What it pays in, by ISO 4217.", examples=["USD"])]
Window = Annotated[
    Literal["day", "month", "rolling"], Field(description="A calendar day or month in the account's time zone, or the last `window_s` seconds.")
]
Seconds = Annotated[StrictInt | None, Field(description="Of a rolling window: 60 seconds to 366 days.", examples=[3600])]
Hard = Annotated[StrictBool, Field(description="Refuse what does not fit; a soft budget only tells.")]
Thresholds = Annotated[
    list[StrictInt], Field(description="Percent of the limit at which an event tells; none: an empty list.", examples=[[50, 80, 100]])
]
Metadata = Annotated[str | None, Field(description="Your own reference; the same one is booked once only.", max_length=200)]


TimeZone = Annotated[str, Field(description="Where its days and months begin and end, by IANA's name.", examples=["Europe/Berlin"])]


Reason = Annotated[str | None, Field(description="Why; it is kept with the entry.", min_length=1, max_length=500)]
Operator = Annotated[str | None, Field(description="Who does it; `admin` when left out.", min_length=1, max_length=200)]


class Signed(BaseModel):
    """A body that says who sends it.  A misspelt field must not look as if it were kept."""

    model_config = ConfigDict(extra="forbid")

    operator: Operator = None

    @property
    def sender(self) -> str:
        """Whose name stands with what is done."""
        return self.operator or OPERATOR


class NewOrganisation(BaseModel):
    """Body of ``POST /v1/admin/organisations``."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    time_zone: TimeZone = "UTC"


class NewProject(Signed):
    """Body of ``POST /v1/admin/projects``."""

    name: Name
    organisation_id: Annotated[str | None, Field(description="Where it belongs (org_...); without it, an organisation of the same name is made.")] = (
        None
    )
    plan: Plan = None
    currency: Currency = None


class ProjectChange(Signed):
    """Body of ``PATCH /v1/admin/projects/{id}``; what is left out stays."""

    plan: Plan = None
    currency: Currency = None


class KeyBudget(Signed):
    """The ``budget`` of a new key."""

    tokens: Tokens
    window: Window
    window_s: Seconds = None
    hard: Hard = True
    thresholds: Thresholds = list(budgets.DEFAULT_THRESHOLDS)


class NewKey(BaseModel):
    """Body of ``POST /v1/admin/projects/{id}/keys``.  A limit that we do not know must not look as if it were kept."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    expires_at: Annotated[datetime | None, Field(description="When it stops working, with a time zone; null: never.")] = None
    requests_per_minute: Annotated[StrictInt | None, Field(description="At most so many requests a minute; null: no limit.", examples=[60])] = None
    tokens_per_minute: Annotated[
        Tokens | None, Field(description="At most so many Tokens a minute, charged or held by running requests; null: no limit.", examples=["1000"])
    ] = None
    budget: Annotated[KeyBudget | None, Field(description="A budget that it has from the beginning; without it the key is not made.")] = None


class NewTopUp(Signed):
    """Body of ``POST /v1/admin/projects/{id}/top-ups``."""

    tokens: Tokens
    reference: Metadata = None
    reason: Reason = None


class NewRefund(Signed):
    """Body of ``POST /v1/admin/receipts/{id}/refunds``."""

    tokens: Annotated[Tokens | None, Field(description="How much to give back, at most what was charged; without it, all that is left.")] = None
    reason: Annotated[str, Field(description="Why, 1 to 500 characters; it stands on the receipt.", examples=["The film was blurred."])]
    reference: Annotated[
        str | None,
        Field(description="Your name for this refund of this receipt: the same one is booked once.  Without it: the header idempotency-key."),
    ] = None


class DriftOf(BaseModel):
    """One side of a chat: tokens expected and counted, and by how much a single estimate was wrong."""

    expected: int
    counted: int
    mean_error: Annotated[float | None, Field(description="Mean of |counted - expected| / counted; null when nothing was measured.")]
    p90_error: Annotated[float | None, Field(description="Nine requests of ten are wrong by less.")]


class DriftView(BaseModel):
    """One model's drift."""

    model: str
    requests: int
    measured: Annotated[int, Field(description="Requests whose provider reported; the others are not compared.")]
    prompt: DriftOf
    answer: DriftOf


class DriftPage(BaseModel):
    """Answer of ``GET /v1/admin/drift``."""

    from_: Annotated[str, Field(alias="from")]
    to: str
    data: list[DriftView]


class OrganisationView(BaseModel):
    """An organisation."""

    id: str
    name: str
    time_zone: str
    created_at: datetime


class ProjectView(BaseModel):
    """A project: the cost centre that owns a wallet."""

    id: str
    organisation_id: str
    name: str
    plan: Annotated[str, Field(description="The plan whose prices it pays, also when it has subscribed to none.")]
    subscription: Annotated[
        dict[str, Any] | None, Field(description="The plan that it has subscribed to, with its period, as in its wallet; null: to none.")
    ]
    currency: str
    created_at: datetime


class KeyView(BaseModel):
    """A key, without its secret."""

    id: str
    project_id: str
    name: str
    prefix: str
    requests_per_minute: int | None
    tokens_per_minute: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class IssuedKeyView(KeyView):
    """A fresh key.  ``key`` is shown here and never again."""

    key: str


class Page(BaseModel):
    """A page of a list, newest first.  ``next_cursor`` is null on the last one."""

    data: list[Any]
    next_cursor: str | None


def organisation_view(organisation: Organisation) -> dict[str, Any]:
    """An organisation as the API shows it."""
    return {
        "id": encode_id("org", organisation.id),
        "name": organisation.name,
        "time_zone": organisation.time_zone,
        "created_at": organisation.created_at,
    }


def project_view(project: Project, subscription: plans.Subscription | None) -> dict[str, Any]:
    """A project as the API shows it."""
    return {
        "id": encode_id("prj", project.id),
        "organisation_id": encode_id("org", project.organisation_id),
        "name": project.name,
        "plan": project.plan,
        "subscription": None if subscription is None else subscription.to_api(),
        "currency": project.currency,
        "created_at": project.created_at,
    }


def key_view(key: ApiKey) -> dict[str, Any]:
    """A key as the API shows it."""
    return {
        "id": encode_id("key", key.id),
        "project_id": encode_id("prj", key.project_id),
        "name": key.name,
        "prefix": f"tx-{key.prefix}",
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": None if key.tokens_per_minute_utok is None else format_tokens(key.tokens_per_minute_utok),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def issued_key_view(issued: IssuedKey) -> dict[str, Any]:
    """A fresh key with its text."""
    return {**key_view(issued.key), "key": issued.text}
