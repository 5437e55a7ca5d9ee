"""Refusals of metering.

AboveCallersMaximum   400 above_max_tokens
TooExpensive          400 too_expensive
WrongModality         400 wrong_modality
VideoNotFound         404 video_not_found
VideoNotReady         400 video_not_ready
VideoFailed           400 video_failed
VideoExpired          410 video_expired
ReceiptNotFound       404 receipt_not_found
ReceiptNotSettled     409 receipt_not_settled       may be sent again later
NothingCharged        409 nothing_charged
AboveCharge           409 refund_above_charge
IdempotencyKeyReused  422 idempotency_key_reused
IdempotencyInProgress 409 idempotency_in_progress   may be sent again: Retry-After
IdempotencyAnswerGone 409 idempotency_answer_gone
QuoteNotFound         404 quote_not_found
QuoteExpired          410 quote_expired
QuoteKeyRevoked       410 quote_key_revoked
QuoteUsed             422 quote_used
QuoteMismatch         422 quote_mismatch
TooManyQuotes         400 too_many_quotes
QuoteLimitExceeded    429 quote_limit_exceeded  may be sent again: Retry-After
SigningKeyRevoked     503 signing_key_revoked   may be sent again once there is another key
DiskFull              503 disk_full
"""

from taximeter.kernel.errors import InvalidRequest, NotFound, Refusal, Unavailable


class AboveCallersMaximum(InvalidRequest):
    """The request may cost more than the caller's ``taximeter-max-tokens``."""

    code = "above_max_tokens"


class TooExpensive(InvalidRequest):
    """The request may cost more than one posting of the ledger may move."""

    code = "too_expensive"


class WrongModality(InvalidRequest):
    """The model does something else than this route."""

    code = "wrong_modality"


class VideoNotFound(NotFound):
    """There is no such video, or it belongs to somebody else."""

    code = "video_not_found"


class VideoNotReady(InvalidRequest):
    """The video is still being made.

    400 and not 409: the official client sends a 409 three times.
    """

    code = "video_not_ready"


class VideoFailed(InvalidRequest):
    """The video could not be made; there is no content."""

    code = "video_failed"


class VideoExpired(Refusal):
    """The video was made and its file has been removed since."""

    code = "video_expired"
    status = 410


class ReceiptNotFound(NotFound):
    """There is no such receipt, or it belongs to somebody else."""

    code = "receipt_not_found"


class ReceiptNotSettled(Refusal):
    """The request is still running, or its settlement waits for the database: there is nothing to give back yet."""

    code = "receipt_not_settled"
    status = 409


class NothingCharged(Refusal):
    """The request was released or cost nothing: there is nothing to give back."""

    code = "nothing_charged"
    status = 409


class AboveCharge(Refusal):
    """Together with earlier refunds, this one would give back more than was charged."""

    code = "refund_above_charge"
    status = 409


class IdempotencyKeyReused(Refusal):
    """The key names an earlier request of the project, and that was another one."""

    code = "idempotency_key_reused"
    status = 422


class IdempotencyInProgress(Refusal):
    """The request that the key names is still running."""

    code = "idempotency_in_progress"
    status = 409


class IdempotencyAnswerGone(Refusal):
    """The request that the key names has ended, and its answer was not kept."""

    code = "idempotency_answer_gone"
    status = 409


class QuoteNotFound(NotFound):
    """There is no such quote, or it belongs to somebody else, or its time was over long ago."""

    code = "quote_not_found"


class QuoteExpired(Refusal):
    """The quote's time is over."""

    code = "quote_expired"
    status = 410


class QuoteKeyRevoked(Refusal):
    """The quote was made when the key that has signed it was not trusted any more."""

    code = "quote_key_revoked"
    status = 410


class QuoteUsed(Refusal):
    """Another request has used the quote; each is for one.

    422 and not 409: the official client sends a 409 three times.
    """

    code = "quote_used"
    status = 422


class QuoteMismatch(Refusal):
    """The request is not the one that was quoted."""

    code = "quote_mismatch"
    status = 422


class TooManyQuotes(InvalidRequest):
    """One call asks for more quotes than it may."""

    code = "too_many_quotes"


class QuoteLimitExceeded(Refusal):
    """The project has asked for as many quotes as it may in a minute, or has as many open."""

    code = "quote_limit_exceeded"
    status = 429
    openai_type = "rate_limit_error"


class SigningKeyRevoked(Unavailable):
    """The key that this machine would sign quotes with was revoked, and it has no other one yet."""

    code = "signing_key_revoked"


class DiskFull(Unavailable):
    """There is no room on the disk where a settlement is kept while the database is away."""

    code = "disk_full"
