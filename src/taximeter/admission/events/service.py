"""Webhooks as operators manage them, and the list of events."""

import secrets
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from taximeter.admission.events.errors import DeliveryNotFound, WebhookNotFound
from taximeter.admission.events.model import EVENT_PREFIX, Delivery, DeliveryState, Event, Webhook
from taximeter.admission.events.rules import SECRET_BYTES, check_kind, check_types, check_url, make_secret
from taximeter.admission.events.store import EventStore, WebhookStore
from taximeter.kernel.errors import InvalidRequest, NotFound
from taximeter.kernel.ids import IdFactory, encode_id
from taximeter.kernel.settings import Settings

KEEP_OLD_SECRET_S = 86_400
KEEP_OLD_SECRET_S_MAX = 30 * 86_400
BY_OPERATOR = "disabled by an operator"


class Webhooks:
    """The verbs of the routes and commands about webhooks and events."""

    def __init__(self, pool: asyncpg.Pool, ids: IdFactory, settings: Settings) -> None:
        self._store = WebhookStore(pool)
        self._events = EventStore(pool)
        self._ids = ids
        self._private = settings.webhook_private_addresses

    async def create(self, url: str, types: Sequence[str] = (), project_id: UUID | None = None, organisation_id: UUID | None = None) -> Webhook:
        """Make a webhook.  Its secret is in it, and shown by nothing that comes later.

        Raises InvalidRequest, WebhookAddressRefused, NotFound when there is no such project or organisation.
        """
        if project_id is not None and organisation_id is not None:
            message = "a webhook is for a project, for an organisation, or for everything; name one of the two, or none"
            raise InvalidRequest(message, param="organisation_id")
        checked = check_url(url, private=self._private), check_types(types)
        made = await self._store.insert(self._ids.new(), (project_id, organisation_id), *checked, make_secret(secrets.token_bytes(SECRET_BYTES)))
        if made is None:
            message = "There is no project or organisation with this id."
            raise NotFound(message)
        return made

    async def find(self, webhook_id: UUID) -> Webhook:
        """One webhook.  Raises WebhookNotFound."""
        return _found(await self._store.find(webhook_id))

    async def list(self, after: UUID | None, project_id: UUID | None, limit: int) -> Sequence[Webhook]:
        """Newest first."""
        return await self._store.page(after, project_id, limit)

    async def change(
        self, webhook_id: UUID, url: str | None = None, types: Sequence[str] | None = None, *, disabled: bool | None = None, reason: str | None = None
    ) -> Webhook:
        """Change what is not None.  One that is enabled again gets what had waited for it.  Raises as ``create`` does, WebhookNotFound."""
        wanted_url = None if url is None else check_url(url, private=self._private)
        wanted_types = None if types is None else check_types(types)
        return _found(await self._store.update(webhook_id, wanted_url, wanted_types, disabled=disabled, reason=reason or BY_OPERATOR))

    async def rotate(self, webhook_id: UUID, keep_s: int = KEEP_OLD_SECRET_S) -> Webhook:
        """Give it another secret, which is in the answer; the old one signs beside it for so long.  Raises WebhookNotFound, InvalidRequest."""
        if not 0 <= keep_s <= KEEP_OLD_SECRET_S_MAX:
            message = f"'keep_s' must be 0 to {KEEP_OLD_SECRET_S_MAX} seconds"
            raise InvalidRequest(message, param="keep_s")
        return _found(await self._store.rotate(webhook_id, make_secret(secrets.token_bytes(SECRET_BYTES)), float(keep_s)))

    async def delete(self, webhook_id: UUID) -> None:
        """Delete it, its secrets and its deliveries; the events stay.  Raises WebhookNotFound."""
        if not await self._store.delete(webhook_id):
            raise _no_webhook()

    async def test(self, webhook_id: UUID) -> dict[str, Any]:
        """Send it an event of the type ``webhook.test``.  Raises WebhookNotFound."""
        event_id = await self._store.test(webhook_id)
        if event_id is None:
            raise _no_webhook()
        return {"event": encode_id(EVENT_PREFIX, event_id), "type": "webhook.test"}

    async def deliveries(self, webhook_id: UUID, after: UUID | None, state: DeliveryState | None, limit: int) -> Sequence[Delivery]:
        """What it was sent, or will be; newest first.  Raises WebhookNotFound."""
        _found(await self._store.find(webhook_id))
        return await self._store.deliveries(webhook_id, after, state, limit)

    async def resend(self, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Send one again, from the first attempt on.  One that is pending stays as it is.  Raises WebhookNotFound, DeliveryNotFound."""
        _found(await self._store.find(webhook_id))
        await self._store.resend(webhook_id, delivery_id)
        found = await self._store.deliveries(webhook_id, None, None, 1, delivery_id)
        if not found:
            message = "this webhook has no delivery with this id, or it was forgotten"
            raise DeliveryNotFound(message)
        return found[0]

    async def resend_failed(self, webhook_id: UUID) -> int:
        """Send all again that were given up; returns how many.  Raises WebhookNotFound."""
        _found(await self._store.find(webhook_id))
        return await self._store.resend(webhook_id, None)

    async def events(self, after: UUID | None, kind: str | None, project_id: UUID | None, limit: int) -> Sequence[Event]:
        """What happened, newest first; ``kind`` is a type, or its first part.  Raises InvalidRequest when no event is of it."""
        return await self._events.page(after, check_kind(kind), project_id, limit)


def _found(webhook: Webhook | None) -> Webhook:
    if webhook is None:
        raise _no_webhook()
    return webhook


def _no_webhook() -> WebhookNotFound:
    return WebhookNotFound("there is no webhook with this id")
