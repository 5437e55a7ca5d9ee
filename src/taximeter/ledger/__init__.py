"""Double entry with holds: what was reserved, charged and released, and for whom."""

from taximeter.ledger import store
from taximeter.ledger.batcher import Books, Limits
from taximeter.ledger.errors import AccountClosed, DifferentBody, InsufficientBalance
from taximeter.ledger.model import AccountCode, Kind, Leg, Operation, Outcome, SettleCode, Status, Wallet, operator_account

__all__ = [
    "AccountClosed",
    "AccountCode",
    "Books",
    "DifferentBody",
    "InsufficientBalance",
    "Kind",
    "Leg",
    "Limits",
    "Operation",
    "Outcome",
    "SettleCode",
    "Status",
    "Wallet",
    "operator_account",
    "store",
]
