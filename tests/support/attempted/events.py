"""Events."""

from tests.support.attempts import ID, OTHER, Attempt, Columns, again, does, second

ROWS: dict[str, tuple[Columns, Columns]] = {
    "admission.events": ({"id": ID, "type": "'a.b'", "data": "'{}'", "dedup": "'d'"}, {"id": OTHER, "dedup": "'e'"}),
}


def attempts() -> dict[str, Attempt]:
    return {
        "admission.events.events_pkey": again("admission.events", "id"),
        "admission.events.events_type_check": second("admission.events", type="'Nothing'"),
        "admission.events.events_data_check": second("admission.events", data="'[]'"),
        "admission.events.events_dedup_check": second("admission.events", dedup="''"),
        "admission.events.events_dedup_key": again("admission.events", "dedup"),
        "admission.events.events_append_only": does(
            "update admission.events set type = 'c.d'; delete from admission.events",
            "delete from admission.event_fanout; delete from admission.deliveries",
        ),
        "admission.events.events_append_only_truncate": does("truncate admission.events cascade"),
    }
