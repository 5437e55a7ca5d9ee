"""What happened, and who is told: events, webhooks by the Standard Webhooks, and their delivery."""

from taximeter.admission.events.errors import DeliveryNotFound, WebhookAddressRefused, WebhookNotFound
from taximeter.admission.events.model import TYPES, Delivery, Event, Webhook
from taximeter.admission.events.service import Webhooks
from taximeter.admission.events.store import EventStore, WebhookStore
from taximeter.admission.events.tasks import Deliverer

__all__ = [
    "TYPES",
    "Deliverer",
    "Delivery",
    "DeliveryNotFound",
    "Event",
    "EventStore",
    "Webhook",
    "WebhookAddressRefused",
    "WebhookNotFound",
    "WebhookStore",
    "Webhooks",
]
