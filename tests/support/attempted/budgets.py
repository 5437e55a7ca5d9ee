"""Budgets."""

from tests.support.attempts import ID, NEITHER, OTHER, Attempt, Columns, again, second

TABLE = "admission.budgets"
BUDGET: Columns = {
    "id": ID,
    "scope": "'project'",
    "organisation_id": ID,
    "project_id": ID,
    "span": "'day'",
    "limit_utok": "5",
    "hard": "true",
    "thresholds": "'{50}'",
    "lane": "0",
    "account": "5",
    "operator": "'o'",
    **dict.fromkeys(("started_at", "rolls_at", "created_at", "changed_at"), "now()"),
}

ROWS: dict[str, tuple[Columns, Columns]] = {TABLE: (BUDGET, {"id": OTHER, "account": "6", "span": "'month'"})}
END_USER = {"scope": "'end_user'", "end_user": "'u'"}


def attempts() -> dict[str, Attempt]:
    return {
        f"{TABLE}.budgets_pkey": again(TABLE, "id"),
        f"{TABLE}.budgets_account_key": again(TABLE, "account"),
        f"{TABLE}.budgets_default_id_fkey": second(TABLE, **END_USER, default_id=NEITHER),
        f"{TABLE}.budgets_scope_check": second(TABLE, scope="'nobody'"),
        f"{TABLE}.budgets_end_user_check": second(TABLE, **{**END_USER, "end_user": "''"}),
        f"{TABLE}.budgets_span_check": second(TABLE, span="'week'"),
        f"{TABLE}.budgets_limit_utok_check": second(TABLE, limit_utok="0"),
        f"{TABLE}.budgets_thresholds_check": second(TABLE, thresholds="'{0}'"),
        f"{TABLE}.budgets_operator_check": second(TABLE, operator="''"),
        f"{TABLE}.whose": second(TABLE, key_id=ID),
        f"{TABLE}.counts_or_is_a_default": second(TABLE, account="null"),
        f"{TABLE}.rolling_has_a_length": second(TABLE, window_s="3600"),
        f"{TABLE}.budgets_once": again(TABLE, "span"),
    }
