"""Approvals and their history."""

from tests.support.attempts import ID, NEITHER, OTHER, Attempt, Columns, again, does, either, second

TABLE = "admission.approvals"
ROW: Columns = {
    "id": ID,
    "project_id": ID,
    "key_id": ID,
    "model": "'m'",
    "modality": "'video'",
    "is_job": "true",
    "request": "'{}'",
    "fingerprint": "sha256('f')",
    "idempotency_key": "'k'",
    "key_fingerprint": "sha256('k')",
    "plan": "'p'",
    "cap_utok": "5",
    "maximum_utok": "6",
    "quote_id": ID,
    "quote": "'{}'",
    "expires_at": "now()",
}

ROWS: dict[str, tuple[Columns, Columns]] = {
    TABLE: (ROW, {"id": OTHER, "quote_id": OTHER, "idempotency_key": "'l'"}),
    # The approval itself has written that it waits.
    "admission.approval_history": ({"approval_id": ID, "state": "'approved'"}, {"state": "'used'"}),
}


def attempts() -> dict[str, Attempt]:
    written = ", ".join(ROW)
    values = ", ".join({**ROW, "id": OTHER, "quote_id": OTHER, "idempotency_key": "'l'"}.values())
    nameless = {"idempotency_key": "null", "key_fingerprint": "null"}
    return {
        # Its history would be written twice, too.
        f"{TABLE}.approvals_pkey": does(again(TABLE, "id").sql, f"alter table {TABLE} disable trigger approvals_noted"),
        f"{TABLE}.approvals_by_quote": again(TABLE, "quote_id"),
        f"{TABLE}.approvals_waiting": Attempt(second(TABLE, **nameless).sql, second(TABLE, **nameless, id=NEITHER, quote_id=NEITHER).sql),
        f"{TABLE}.approvals_waiting_by_key": again(TABLE, "idempotency_key"),
        f"{TABLE}.approvals_request_check": second(TABLE, request="jsonb_build_object('a', repeat('x', 262144))"),
        f"{TABLE}.approvals_fingerprint_check": second(TABLE, fingerprint="''"),
        f"{TABLE}.approvals_idempotency_key_check": second(TABLE, idempotency_key="''"),
        f"{TABLE}.approvals_key_fingerprint_check": second(TABLE, key_fingerprint="''"),
        f"{TABLE}.approvals_cap_utok_check": second(TABLE, cap_utok="-1"),
        f"{TABLE}.approvals_state_check": second(TABLE, state="'lost'", decided_at="now()"),
        f"{TABLE}.approvals_operator_check": second(TABLE, operator="''"),
        f"{TABLE}.approvals_reason_check": second(TABLE, reason="repeat('x', 501)"),
        f"{TABLE}.approvals_problem_check": second(TABLE, problem="repeat('x', 1001)"),
        f"{TABLE}.above_its_cap": second(TABLE, maximum_utok="5"),
        f"{TABLE}.decided_has_time": second(TABLE, state="'declined'"),
        f"{TABLE}.key_has_fingerprint": either(second(TABLE, key_fingerprint="null"), second(TABLE, idempotency_key="null")),
        f"{TABLE}.approvals_asked_once": does(
            f"update {TABLE} set maximum_utok = 7; update {TABLE} set state = 'used', decided_at = now()"  # noqa: S608 - ours
        ),
        f"{TABLE}.approvals_not_deleted": does(
            f"with h as (delete from {TABLE} where id = {OTHER} returning 1) select 1 from h",  # noqa: S608 - ours
            f"{second(TABLE).sql}; alter table admission.approval_history drop constraint approval_history_approval_id_fkey",
        ),
        f"{TABLE}.approvals_not_truncated": does(f"truncate {TABLE} cascade"),
        # What it writes is there already when somebody else wants to.
        f"{TABLE}.approvals_noted": does(
            f"with a as (insert into {TABLE} ({written}) values ({values}) returning id)"  # noqa: S608 - ours
            f" insert into admission.approval_history (approval_id, state) select id, 'pending' from a"
        ),
        "admission.approval_history.approval_history_pkey": again("admission.approval_history", "state"),
        "admission.approval_history.approval_history_approval_id_fkey": second("admission.approval_history", approval_id=NEITHER),
        "admission.approval_history.approval_history_append_only": does(
            "update admission.approval_history set reason = 'x'; delete from admission.approval_history"
        ),
        "admission.approval_history.approval_history_append_only_truncate": does("truncate admission.approval_history"),
    }
