"""Plans and wallets: subscriptions and their periods, grants on terms, corrections, credit lines.

model          what is kept
rules          pure: the order of spending, parts of a month, what a change of plan does
store          the SQL, inside the caller's transaction
grants         gives, corrects, expires
credit         credit lines and payments
subscriptions  starts, changes, renews, ends
service        the face, by a project's id
tasks          what a worker does about it
"""

from taximeter.admission.plans.errors import CorrectionAboveBalance, CreditLineInUse, NotPostpaid, NotSubscribed
from taximeter.admission.plans.model import By, Grant, GrantOrder, Subscription, When
from taximeter.admission.plans.service import Plans, Purse, set_zone
from taximeter.admission.plans.tasks import Upkeep

__all__ = [
    "By",
    "CorrectionAboveBalance",
    "CreditLineInUse",
    "Grant",
    "GrantOrder",
    "NotPostpaid",
    "NotSubscribed",
    "Plans",
    "Purse",
    "Subscription",
    "Upkeep",
    "When",
    "set_zone",
]
