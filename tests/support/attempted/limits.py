"""Limits, what runs within them, and what shadows would have refused."""

from tests.support.attempts import ID, NEITHER, OTHER, Attempt, Columns, again, either, second

LIMIT = {"scope": "'key'", "key_id": ID, "kind": "'requests'", "most": "5", "window_s": "60", "operator": "'o'"}
ROWS: dict[str, tuple[Columns, Columns]] = {
    "admission.limits": ({"id": ID, **LIMIT}, {"id": OTHER, "window_s": "61"}),
    "admission.running": ({"request_id": ID, "bucket": ID}, {"request_id": OTHER}),
    "admission.taken": (
        {"request_id": ID, "amount_utok": "5", "buckets": f"array[{ID}]", "mosts": "array[5]", "windows_s": "array[60]", "full_at": "array[0]"},
        {"request_id": OTHER},
    ),
    "admission.shadow_refusals": ({"bucket": ID, "day": "'2027-01-01'", "refused": "1"}, {"day": "'2027-01-02'"}),
}


def attempts() -> dict[str, Attempt]:
    return {
        "admission.limits.limits_pkey": again("admission.limits", "id"),
        "admission.limits.limits_key_id_fkey": second("admission.limits", key_id=NEITHER),
        "admission.limits.limits_project_id_fkey": second("admission.limits", scope="'project'", key_id="null", project_id=NEITHER),
        "admission.limits.limits_model_check": second("admission.limits", model="''"),
        "admission.limits.limits_kind_check": second("admission.limits", kind="'k'"),
        "admission.limits.limits_most_check": either(second("admission.limits", most="0"), second("admission.limits", most="1000000000000001")),
        "admission.limits.limits_window_s_check": either(second("admission.limits", window_s="0"), second("admission.limits", window_s="86401")),
        "admission.limits.limits_operator_check": second("admission.limits", operator="''"),
        "admission.limits.limits_of_somebody": either(
            second("admission.limits", scope="'model'"),
            second("admission.limits", scope="'project'"),
            second("admission.limits", project_id=ID),
            second("admission.limits", scope="'nobody'"),
        ),
        "admission.limits.limits_in_a_time": either(second("admission.limits", window_s="null"), second("admission.limits", kind="'concurrency'")),
        "admission.limits.limits_once": again("admission.limits", "window_s"),
        "admission.running.running_pkey": again("admission.running", "request_id"),
        "admission.taken.taken_pkey": again("admission.taken", "request_id"),
        "admission.shadow_refusals.shadow_refusals_pkey": again("admission.shadow_refusals", "day"),
        "admission.shadow_refusals.shadow_refusals_refused_check": second("admission.shadow_refusals", refused="0"),
    }
