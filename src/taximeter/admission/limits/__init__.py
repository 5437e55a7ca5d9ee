"""Limits of keys, projects, models and plans: requests and Tokens in a time, and requests at the same time.

rules     what a hold must fit into, and what its sender is told when it does not; pure
headers   what is left, as headers say it; pure
model     limits as operators set and see them
standing  what is left, as it is looked up between requests; pure
service   sets and removes them
store     keeps them
"""

from taximeter.admission.limits.headers import headers
from taximeter.admission.limits.model import KINDS, LIMIT_PREFIX, SCOPES, Kind, LimitOrder, Scope, SetLimit
from taximeter.admission.limits.rules import limits_on, plan_bucket, refusal, take
from taximeter.admission.limits.service import LimitsOffice
from taximeter.admission.limits.store import LimitStore

__all__ = [
    "KINDS",
    "LIMIT_PREFIX",
    "SCOPES",
    "Kind",
    "LimitOrder",
    "LimitStore",
    "LimitsOffice",
    "Scope",
    "SetLimit",
    "headers",
    "limits_on",
    "plan_bucket",
    "refusal",
    "take",
]
