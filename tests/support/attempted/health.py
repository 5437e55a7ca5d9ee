"""Circuit breakers, and how many quotes a project has."""

from tests.support.attempts import ID, OTHER, Attempt, Columns, again, does, second

BREAKER = {"process_id": ID, "process_kind": "'gateway'", "engine": "'e'", "model": "'m@1'", "state": "'open'", "since": "now()"}
RESET = {"id": "1", "engine": "'e'", "model": "'m@1'", "operator": "'o'"}

ROWS: dict[str, tuple[Columns, Columns]] = {
    "admission.breakers": ({**BREAKER, "failures": "5", "openings": "1"}, {"process_id": OTHER}),
    "admission.breaker_resets": (RESET, {"id": "2"}),
    "metering.quote_counts": ({"project_id": ID}, {"project_id": OTHER}),
}


def attempts() -> dict[str, Attempt]:
    return {
        "admission.breakers.breakers_pkey": again("admission.breakers", "process_id"),
        "admission.breakers.breakers_state_check": second("admission.breakers", state="'ajar'"),
        "admission.breakers.breakers_failures_check": second("admission.breakers", failures="-1"),
        "admission.breakers.breakers_openings_check": second("admission.breakers", openings="-1"),
        "admission.breaker_resets.breaker_resets_pkey": again("admission.breaker_resets", "id"),
        "admission.breaker_resets.breaker_resets_operator_check": second("admission.breaker_resets", operator="''"),
        "admission.breaker_resets.breaker_resets_append_only": does(
            "update admission.breaker_resets set operator = 'p'; delete from admission.breaker_resets"
        ),
        "admission.breaker_resets.breaker_resets_append_only_truncate": does("truncate admission.breaker_resets"),
        "metering.quote_counts.quote_counts_pkey": again("metering.quote_counts", "project_id"),
        "metering.quote_counts.quote_counts_open_most_check": second("metering.quote_counts", open_most="-1"),
    }
