"""Quotes: binding offers, signed, each for one request.

document      what is offered, signed; checked without the server
fingerprint   which job it is for
alternatives  the same job cheaper
service       makes them
store         keeps them, many at a time
offers        holds a request to its quote
"""

from taximeter.metering.quotes.alternatives import ALTERNATIVES_MAX, Alternative, alternatives
from taximeter.metering.quotes.document import InvalidQuote, priced, read_quote, verify_quote
from taximeter.metering.quotes.offers import Offer, open_offer, taken
from taximeter.metering.quotes.service import Quotes
from taximeter.metering.quotes.store import QuoteLimits, QuoteStore, revoke_key

__all__ = [
    "ALTERNATIVES_MAX",
    "Alternative",
    "InvalidQuote",
    "Offer",
    "QuoteLimits",
    "QuoteStore",
    "Quotes",
    "alternatives",
    "open_offer",
    "priced",
    "read_quote",
    "revoke_key",
    "taken",
    "verify_quote",
]
