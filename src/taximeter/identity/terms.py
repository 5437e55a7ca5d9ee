"""What was agreed with a caller beyond the price of a Token, as ``admission.terms_of`` tells it with the verdict on his key.

The meaning of each part is admission's; identity only carries it.
"""

from typing import Literal

import msgspec


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that were given on terms.

    Attributes:
        account: the ledger's.
        starts_ms: Unix milliseconds from when on they may be spent.
        expires_ms: from when on they may not; None: never.
        modality: what alone they may be spent on; None: anything.
        free_utok: how much was left of them, told only where there are more than pay for one request.
    """

    account: int
    starts_ms: int = 0
    expires_ms: int | None = None
    modality: str | None = None
    free_utok: int = 0


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A bound on what may be spent.

    Attributes:
        id: the budget's, as a UUID.
        account: the ledger's; 0: it stands for those of end users, who are known only when a request names one.
        scope: whom it bounds.
        hard: it refuses; a soft one only tells.
        stamp: changes whenever budgets of the project's end users are made or removed.
    """

    id: str
    account: int
    scope: Literal["organisation", "project", "key", "end_user"]
    hard: bool = True
    stamp: int = 0


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How fast or how much at once.

    Attributes:
        bucket: where it is counted, a UUID.
        scope: whom it limits; ``model``: everybody who asks for the model; ``plan``: the project, by its plan.
        model: the only model that it is about; None: every one.
        kind: what is counted.
        most: requests, micro-Tokens or requests at the same time.
        window_s: in how many seconds; not for ``concurrency``.
        shadow: it only counts what it would refuse.
    """

    bucket: str
    scope: Literal["key", "project", "model", "plan"]
    model: str | None = None
    kind: Literal["requests", "tokens", "concurrency"]
    most: int
    window_s: int = 60
    shadow: bool = False


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        grants: in the order in which they are spent.
        postpaid: the ledger account of the credit line; None: there is none.
        subscription: the plan that was subscribed to; None: whoever asks pays as he goes, and no plan limits him.
        budgets: that each request is held on.
        limits: of key, project and models.
    """

    grants: tuple[Grant, ...] = ()
    postpaid: int | None = None
    subscription: str | None = None
    budgets: tuple[Budget, ...] = ()
    limits: tuple[Limit, ...] = ()


NO_TERMS = Terms()
read_terms = msgspec.json.Decoder(Terms).decode
