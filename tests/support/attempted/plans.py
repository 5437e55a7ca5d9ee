"""Plans and wallets."""

from tests.support.attempts import ID, NEITHER, OTHER, Attempt, Columns, again, does, either, second

GRANT = {
    "id": ID, "project_id": ID, "account": "1", "amount_utok": "5", "starts_at": "now()", "expires_at": "now() + interval '1 day'",
    "priority": "50", "kind": "'manual'", "operator": "'o'",
}  # fmt: skip
SUBSCRIPTION = {
    "project_id": ID, "plan": "'p'", "anchor": "'2027-01-31'", "month": "0", "period_start": "now()", "period_end": "now() + interval '1 day'",
    "allowance_utok": "5", "started_at": "now()",
}  # fmt: skip
PERIOD = {
    "project_id": ID, "anchor": "'2027-01-31'", "month": "0", "period_start": "now()", "period_end": "now() + interval '1 day'",
    "due_utok": "5", "given_utok": "5",
}  # fmt: skip
ADJUSTMENT = {"id": ID, "project_id": ID, "kind": "'correction'", "amount_utok": "-5", "operator": "'o'"}
CHANGE = {"id": ID, "project_id": ID, "event": "'started'", "plan": "'p'", "operator": "'o'"}

ROWS: dict[str, tuple[Columns, Columns]] = {
    "admission.grants": (GRANT, {"id": OTHER, "account": "2"}),
    "admission.expiries": ({"id": ID, "grant_id": ID, "amount_utok": "5"}, {"id": OTHER}),
    "admission.adjustments": (ADJUSTMENT, {"id": OTHER}),
    "admission.subscriptions": (SUBSCRIPTION, {"project_id": OTHER}),
    "admission.plan_periods": (PERIOD, {"project_id": OTHER}),
    "admission.subscription_changes": (CHANGE, {"id": OTHER}),
    "admission.credit_lines": ({"project_id": ID, "account": "1", "line_utok": "5", "active": "true"}, {"project_id": OTHER}),
    "admission.low_wallets": ({"project_id": ID}, {"project_id": OTHER}),
    "admission.credit_accounts": ({"account": "1", "project_id": ID, "lent_utok": "5"}, {"account": "2"}),
}


def texts(table: str, name: str, *columns: str) -> dict[str, Attempt]:
    return {f"admission.{table}.{name}_{column}_check": second(f"admission.{table}", **{column: "''"}) for column in columns}


def attempts() -> dict[str, Attempt]:
    return {
        "identity.organisations.zone_is_known": either(
            second("identity.organisations", time_zone="'Europe/Atlantis'"), does("update identity.organisations set time_zone = 'EST5EDT,M3.2.0'")
        ),
        "admission.grants.grants_pkey": again("admission.grants", "id"),
        "admission.grants.grants_account_key": again("admission.grants", "account"),
        "admission.grants.grants_amount_utok_check": second("admission.grants", amount_utok="0"),
        "admission.grants.grants_priority_check": either(second("admission.grants", priority="-1"), second("admission.grants", priority="101")),
        "admission.grants.grants_kind_check": second("admission.grants", kind="'gift'"),
        "admission.grants.expires_after_its_start": second("admission.grants", expires_at="now()", starts_at="now()"),
        "admission.grants.closed_when_expired": second("admission.grants", expires_at="null", closed_at="now()"),
        **texts("grants", "grants", "reason", "operator", "reference"),
        "admission.grants.grants_are_kept": either(
            does("update admission.grants set amount_utok = 6"),
            does("update admission.grants set closed_at = now(), priority = 1"),
        ),
        "admission.grants.grants_are_not_truncated": does("truncate admission.grants cascade"),
        "admission.expiries.expiries_pkey": again("admission.expiries", "id"),
        "admission.expiries.expiries_grant_id_fkey": second("admission.expiries", grant_id=NEITHER),
        "admission.expiries.expiries_amount_utok_check": second("admission.expiries", amount_utok="0"),
        "admission.expiries.expiries_append_only": does("update admission.expiries set amount_utok = 6; delete from admission.expiries"),
        "admission.expiries.expiries_append_only_truncate": does("truncate admission.expiries"),
        "admission.adjustments.adjustments_pkey": again("admission.adjustments", "id"),
        "admission.adjustments.adjustments_kind_check": second("admission.adjustments", kind="'gift'"),
        "admission.adjustments.adjustments_amount_utok_check": second("admission.adjustments", amount_utok="0"),
        **texts("adjustments", "adjustments", "reason", "operator", "reference"),
        "admission.adjustments.adjustments_append_only": does("update admission.adjustments set amount_utok = 6; delete from admission.adjustments"),
        "admission.adjustments.adjustments_append_only_truncate": does("truncate admission.adjustments"),
        "admission.low_wallets.low_wallets_pkey": again("admission.low_wallets", "project_id"),
        "admission.subscriptions.subscriptions_pkey": again("admission.subscriptions", "project_id"),
        "admission.subscriptions.subscriptions_month_check": second("admission.subscriptions", month="-1"),
        "admission.subscriptions.subscriptions_allowance_utok_check": second("admission.subscriptions", allowance_utok="-1"),
        "admission.subscriptions.period_has_a_length": second("admission.subscriptions", period_end="now()"),
        "admission.plan_periods.plan_periods_pkey": again("admission.plan_periods", "project_id"),
        "admission.plan_periods.plan_periods_due_utok_check": second("admission.plan_periods", due_utok="-1"),
        "admission.plan_periods.plan_periods_given_utok_check": second("admission.plan_periods", given_utok="-1"),
        "admission.subscription_changes.subscription_changes_pkey": again("admission.subscription_changes", "id"),
        "admission.subscription_changes.subscription_changes_event_check": second("admission.subscription_changes", event="'lost'"),
        **texts("subscription_changes", "subscription_changes", "operator"),
        "admission.subscription_changes.changes_append_only": does(
            "update admission.subscription_changes set plan = 'q'; delete from admission.subscription_changes"
        ),
        "admission.subscription_changes.changes_append_only_truncate": does("truncate admission.subscription_changes"),
        "admission.credit_lines.credit_lines_pkey": again("admission.credit_lines", "project_id"),
        "admission.credit_lines.credit_lines_line_utok_check": second("admission.credit_lines", line_utok="-1"),
        "admission.credit_accounts.credit_accounts_pkey": again("admission.credit_accounts", "account"),
        "admission.credit_accounts.credit_accounts_lent_utok_check": second("admission.credit_accounts", lent_utok="-1"),
    }
