"""Refusals of webhooks.

WebhookNotFound       404 webhook_not_found
DeliveryNotFound      404 delivery_not_found
WebhookAddressRefused 400 webhook_address_refused
"""

from taximeter.kernel.errors import InvalidRequest, NotFound


class WebhookNotFound(NotFound):
    """There is no such webhook."""

    code = "webhook_not_found"


class DeliveryNotFound(NotFound):
    """The webhook has no such delivery, or it was forgotten."""

    code = "delivery_not_found"


class WebhookAddressRefused(InvalidRequest):
    """The address is of this machine or a private network, which webhooks must not reach unless a setting allows it."""

    code = "webhook_address_refused"
