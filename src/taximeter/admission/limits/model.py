"""Limits as operators set and see them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens

LIMIT_PREFIX = "lim"
Scope = Literal["key", "project", "model"]
Kind = Literal["requests", "tokens", "concurrency"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOrder:
    """A limit that an operator wants.

    Attributes:
        owner: the key or the project; None with scope ``model``.
        model: the only one that it is about; None: every one.
        most: requests, micro-Tokens, or requests at the same time.
        window_s: in how many seconds; None with ``concurrency``.
        shadow: it counts what it would refuse, and refuses nothing.
        operator: who wants it.
    """

    scope: Scope
    owner: UUID | None
    model: str | None
    kind: Kind
    most: int
    window_s: int | None
    shadow: bool
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLimit:
    """A limit that is in force.

    Attributes:
        id: of the bucket, too.
        refused: what it would have refused since it was set; None unless it is a shadow.
    """

    id: UUID
    scope: Scope
    key_id: UUID | None
    project_id: UUID | None
    model: str | None
    kind: Kind
    most: int
    window_s: int | None
    shadow: bool
    operator: str
    created_at: datetime
    changed_at: datetime
    refused: int | None = None

    def to_api(self) -> dict[str, Any]:
        """An entry of ``GET /v1/admin/limits``."""
        return {
            "id": encode_id(LIMIT_PREFIX, self.id),
            "scope": self.scope,
            "project_id": None if self.project_id is None else encode_id("prj", self.project_id),
            "key_id": None if self.key_id is None else encode_id("key", self.key_id),
            "model": self.model,
            "kind": self.kind,
            "most": format_tokens(self.most) if self.kind == "tokens" else str(self.most),
            "window": self.window_s,
            "shadow": self.shadow,
            "would_have_refused": self.refused,
            "operator": self.operator,
            "created_at": self.created_at.isoformat(),
            "changed_at": self.changed_at.isoformat(),
        }
