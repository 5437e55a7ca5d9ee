"""Webhooks, their deliveries, and the events that nobody was looked for yet."""

from tests.support.attempts import ID, NEITHER, OTHER, Attempt, Columns, again, second

SECRET = "'whsec_' || repeat('A', 43) || '='"
HOOK: Columns = {"id": ID, "url": "'https://example.com/'", "secret": SECRET}

ROWS: dict[str, tuple[Columns, Columns]] = {
    "admission.event_fanout": ({"event_id": ID}, {"event_id": OTHER}),
    "admission.webhooks": (HOOK, {"id": OTHER}),
    "admission.deliveries": ({"id": ID, "event_id": ID, "webhook_id": ID}, {"id": OTHER, "event_id": OTHER}),
    "admission.delivery_attempts": ({"delivery_id": ID, "made_at": "'2027-01-01'", "duration_ms": "1"}, {"made_at": "'2027-01-02'"}),
}
# Second rows are of a second event.
EVENT = f"insert into admission.events (id, type, data) values ({OTHER}, 'a.b', '{{}}')"  # noqa: S608 - ours
PARENTS = {"admission.event_fanout": EVENT, "admission.deliveries": EVENT}


def attempts() -> dict[str, Attempt]:
    return {
        "admission.event_fanout.event_fanout_pkey": again("admission.event_fanout", "event_id"),
        "admission.event_fanout.event_fanout_event_id_fkey": second("admission.event_fanout", event_id=NEITHER),
        "admission.webhooks.webhooks_pkey": again("admission.webhooks", "id"),
        "admission.webhooks.webhooks_project_id_fkey": second("admission.webhooks", project_id=NEITHER),
        "admission.webhooks.webhooks_organisation_id_fkey": second("admission.webhooks", organisation_id=NEITHER),
        "admission.webhooks.webhooks_url_check": second("admission.webhooks", url="'ftp://example.com/'"),
        "admission.webhooks.webhooks_secret_check": second("admission.webhooks", secret="'secret'"),
        "admission.webhooks.one_owner": second("admission.webhooks", project_id=ID, organisation_id=ID),
        "admission.webhooks.old_secret_has_an_end": second("admission.webhooks", old_secret=SECRET),
        "admission.webhooks.disabled_says_why": second("admission.webhooks", disabled_at="now()"),
        "admission.deliveries.deliveries_pkey": again("admission.deliveries", "id"),
        "admission.deliveries.deliveries_event_id_webhook_id_key": again("admission.deliveries", "event_id"),
        "admission.deliveries.deliveries_event_id_fkey": second("admission.deliveries", event_id=NEITHER),
        "admission.deliveries.deliveries_webhook_id_fkey": second("admission.deliveries", webhook_id=NEITHER),
        "admission.deliveries.deliveries_state_check": second("admission.deliveries", state="'lost'", ended_at="now()"),
        "admission.deliveries.deliveries_attempts_check": second("admission.deliveries", attempts="-1"),
        "admission.deliveries.ended_has_time": second("admission.deliveries", ended_at="now()"),
        "admission.delivery_attempts.delivery_attempts_pkey": again("admission.delivery_attempts", "made_at"),
        "admission.delivery_attempts.delivery_attempts_delivery_id_fkey": second("admission.delivery_attempts", delivery_id=NEITHER),
    }
