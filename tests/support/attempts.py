"""One attempt at each thing that the database forbids, as the owner of its tables.

To add a table: a valid row to ``ROWS``, behind those it refers to.  To add a constraint, a unique index or a trigger: a line to
``ATTEMPTS`` that does what it forbids, and nothing else that is forbidden.  ``make mutants`` shows that each attempt is stopped
by its constraint alone: without it, the attempt succeeds.  Parts of admission have modules of their own in ``attempted``.
"""

from dataclasses import dataclass

Columns = dict[str, str]

ID, OTHER, NEITHER, PAID = (f"'0000000{number}-0000-7000-8000-000000000000'::uuid" for number in (1, 2, 3, 4))
KEY_ID = "repeat('%s', 43)"
BODY = """'{"kind": "%s", "name": "%s", "version": %s}'"""


def document(kind: str, name: str, version: int) -> Columns:
    """A version of the catalog whose text and digest agree."""
    body = BODY % (kind, name, version)
    digest = f"encode(sha256(convert_to({body}, 'UTF8')), 'hex')"
    return {"kind": f"'{kind}'", "name": f"'{name}'", "version": str(version), "body": body, "sha256": digest, "effective_from": "now()"}


RECEIPT = {"id": ID, "phase": "1", "project_id": ID, "key_id": ID, "model": "'m'", "modality": "'chat'", "outcome": "'completed'", "work": "'{}'"}
REQUEST = {"id": ID, "project_id": ID, "key_id": ID, "model": "'m'", "modality": "'chat'", "rate_card": "'c@1'", "tariff": "'t@1'"}
TRANSFER = {
    "id": ID,
    "leg": "0",
    "phase": "0",
    "kind": "1",
    "status": "0",
    "debit": "1",
    "credit": "2",
    "amount": "5",
    "requested": "5",
    "total": "5",
}

SUMS = dict.fromkeys(("requests", "receipts", "failed", "consumed_utok", "charged_utok", "shortfall_utok", "engine_ms"), "0")
REFUND = {"request_id": PAID, "project_id": ID, "reference": "'r'", "amount_utok": "5", "prepaid_utok": "0", "allowance_utok": "5"}

# A valid row of each table, and what a second valid row has otherwise.
ROWS: dict[str, tuple[Columns, Columns]] = {
    "identity.organisations": ({"id": ID, "name": "'o'"}, {"id": OTHER}),
    "identity.projects": (
        {"id": ID, "organisation_id": ID, "name": "'p'", "lane": "0", "allowance_account": "1", "prepaid_account": "2"},
        {"id": OTHER, "allowance_account": "3", "prepaid_account": "4"},
    ),
    "identity.api_keys": (
        {"id": ID, "project_id": ID, "name": "'k'", "prefix": "'abcdefgh'", "secret_sha256": "sha256('s')"},
        {"id": OTHER, "prefix": "'ijklmnop'"},
    ),
    "pricing.documents": (document("plan", "a", 1), document("plan", "a", 2)),
    "ledger.accounts": ({"id": "1", "code": "1", "lane": "0", "owner": ID}, {"id": "2", "code": "2"}),
    "ledger.transfers": ({**TRANSFER, "digest": "'d'", "lane": "0", "batch": "1", "pos": "1"}, {"id": OTHER}),
    "ledger.holds": (
        {"id": ID, "leg": "0", "debit": "1", "credit": "2", "amount": "5", "cascade": "true", "expires_at": "now()"},
        {"id": OTHER},
    ),
    "jobs.jobs": ({"id": ID, "project_id": ID, "kind": "'video'", "payload": "'{}'"}, {"id": OTHER}),
    "metering.processes": ({"id": ID, "kind": "'worker'"}, {"id": OTHER}),
    "metering.requests": ({**REQUEST, "multiplier": "'1'", "held_utok": "5", "fare": "'{}'"}, {"id": OTHER}),
    "metering.receipts": (
        {**RECEIPT, "measured": "true", "consumed_utok": "5", "charged_utok": "5", "lines": "'[]'", "detail": "'{}'", "engine_ms": "1"},
        {"phase": "2"},
    ),
    "metering.idempotency": (
        {"project_id": ID, "key": "'k'", "fingerprint": "sha256('f')", "request_id": ID, "keeps_answer": "true"},
        {"key": "'l'", "request_id": OTHER},
    ),
    "metering.idempotent_answers": ({"request_id": ID, "status": "200", "content_type": "'c'", "body": "''"}, {"request_id": OTHER}),
    "metering.refunds": ({**REFUND, "id": ID, "reason": "'w'", "operator": "'o'"}, {"id": OTHER, "reference": "'s'"}),
    "metering.signing_keys": ({"id": KEY_ID % "a", "public": "sha256('a')"}, {"id": KEY_ID % "b", "public": "sha256('b')"}),
    "metering.quotes": (
        {"id": ID, "project_id": ID, "fingerprint": "sha256('f')", "maximum_utok": "5", "document": "'{}'", "parts": "'{}'", "expires_at": "now()"},
        {"id": OTHER},
    ),
    "metering.quote_uses": ({"quote_id": ID, "request_id": ID}, {"quote_id": OTHER, "request_id": OTHER}),
    "metering.usage_daily": (
        {"project_id": ID, "day": "'2027-01-01'", "key_id": ID, "model": "'m'", "modality": "'chat'", **SUMS},
        {"day": "'2027-01-02'"},
    ),
    # Lanes 0 to 63 have theirs from the beginning.
    "metering.usage_positions": ({"lane": "64"}, {"lane": "65"}),
    "metering.process_usage": ({"process_id": ID, "receipts": "1", "charged_utok": "5"}, {"process_id": OTHER}),
    "metering.process_counters": (
        {"process_id": ID, "kind": "'worker'", "receipts": "1", "charged_utok": "5", "uncertain": "0"},
        {"process_id": OTHER},
    ),
    "metering.reconciliations": (
        {"name": "'n'", "compared": "1", "differences": "0", "unexplained_utok": "0", "detail": "'{}'", "seconds": "1"},
        {"name": "'m'"},
    ),
    "admission.buckets": ({"id": ID}, {"id": OTHER}),
}


# What the second row of a part's table refers to, as a statement.
PARENTS: dict[str, str] = {}


@dataclass(frozen=True)
class Attempt:
    """What is tried; ``before`` makes room for it and is allowed."""

    sql: str
    before: str = ""


def insert(table: str, columns: Columns) -> str:
    return f"insert into {table} ({', '.join(columns)}) overriding system value values ({', '.join(columns.values())})"  # noqa: S608 - ours


def first(table: str) -> str:
    return (SETTLED if table == "metering.refunds" else "") + insert(table, ROWS[table][0])


def second(table: str, **changes: str) -> Attempt:
    """A second row that would be valid, but for the changes."""
    row, other = ROWS[table]
    return Attempt(insert(table, {**row, **other, **changes}), _parents(table))


def again(table: str, *columns: str) -> Attempt:
    """A second row with the first one's values in these columns."""
    row, other = ROWS[table]
    return Attempt(insert(table, {**row, **other, **{name: row[name] for name in columns}}), _parents(table))


def does(sql: str, before: str = "") -> Attempt:
    return Attempt(sql, before)


def either(*attempts: Attempt) -> Attempt:
    """Each of them for itself."""
    return Attempt("; ".join(attempt.sql for attempt in attempts), attempts[0].before)


def _parents(table: str) -> str:
    """Rows that second ones refer to."""
    request = insert("metering.requests", {**ROWS["metering.requests"][0], "id": OTHER})
    key = insert("metering.idempotency", {**ROWS["metering.idempotency"][0], **ROWS["metering.idempotency"][1]})
    quote = insert("metering.quotes", {**ROWS["metering.quotes"][0], **ROWS["metering.quotes"][1]})
    needed = {"metering.idempotency": request, "metering.idempotent_answers": f"{request}; {key}", "metering.quote_uses": f"{request}; {quote}"}
    return needed.get(table, PARENTS.get(table, ""))


def _settled() -> str:
    """A request that paid 20 Tokens from the allowance and 20 from what was bought: some of them can be given back."""
    paid = {**ROWS["ledger.transfers"][0], "id": PAID, "phase": "1", "kind": "2", "cascade": "true", "hold_amount": "20", "amount": "20"}
    rows = [
        ("ledger.accounts", {"id": "5", "code": "2", "lane": "0", "owner": PAID}),
        ("metering.requests", {**ROWS["metering.requests"][0], "id": PAID}),
        ("ledger.transfers", paid),
        ("ledger.transfers", {**paid, "leg": "1", "debit": "5", "requested": "null", "total": "null"}),
        ("metering.receipts", {**ROWS["metering.receipts"][0], "id": PAID, "charged_utok": "40"}),
    ]
    return "".join(f"{insert(table, row)}; " for table, row in rows)


SETTLED = _settled()
TRUSTED = "alter table metering.quote_uses disable trigger for_its_project"
# A quote of another project, and one for less than the request held.
STRANGERS = "; ".join(
    (
        insert("metering.requests", {**ROWS["metering.requests"][0], "id": OTHER}),
        insert("metering.quotes", {**ROWS["metering.quotes"][0], "id": OTHER, "project_id": OTHER}),
        insert("metering.quotes", {**ROWS["metering.quotes"][0], "id": NEITHER, "maximum_utok": "4"}),
    )
)
ORDERED = {"ordered_at": "now()", "provider_until": "now()"}
LATE = {"phase": "2", "hold_amount": "0"}

ATTEMPTS: dict[str, Attempt] = {
    # identity
    "identity.organisations.organisations_pkey": again("identity.organisations", "id"),
    "identity.organisations.organisations_name_check": second("identity.organisations", name="''"),
    "identity.projects.projects_pkey": again("identity.projects", "id"),
    "identity.projects.projects_name_check": second("identity.projects", name="''"),
    "identity.projects.projects_lane_check": second("identity.projects", lane="-1"),
    "identity.projects.projects_organisation_id_fkey": second("identity.projects", organisation_id=NEITHER),
    "identity.projects.projects_plan_is_a_name": second("identity.projects", plan="'Gold'"),
    "identity.projects.projects_currency_is_a_code": second("identity.projects", currency="'usd'"),
    "identity.projects.projects_allowance_account_key": again("identity.projects", "allowance_account"),
    "identity.projects.projects_prepaid_account_key": again("identity.projects", "prepaid_account"),
    "identity.api_keys.api_keys_pkey": again("identity.api_keys", "id"),
    "identity.api_keys.api_keys_name_check": second("identity.api_keys", name="''"),
    "identity.api_keys.api_keys_prefix_check": second("identity.api_keys", prefix="'ABC'"),
    "identity.api_keys.api_keys_prefix_key": again("identity.api_keys", "prefix"),
    "identity.api_keys.api_keys_secret_sha256_check": second("identity.api_keys", secret_sha256="''"),
    "identity.api_keys.api_keys_project_id_fkey": second("identity.api_keys", project_id=NEITHER),
    "identity.api_keys.api_keys_requests_per_minute_check": second("identity.api_keys", requests_per_minute="0"),
    "identity.api_keys.api_keys_tokens_per_minute_utok_check": second("identity.api_keys", tokens_per_minute_utok="0"),
    # admission
    "admission.buckets.buckets_pkey": again("admission.buckets", "id"),
    # pricing
    "pricing.documents.documents_pkey": does(
        insert("pricing.documents", {**document("plan", "z", 1), "seq": "(select max(seq) from pricing.documents)"})
    ),
    "pricing.documents.documents_kind_check": second("pricing.documents", **document("rumour", "a", 2)),
    "pricing.documents.documents_name_check": second("pricing.documents", **document("plan", "A", 2)),
    "pricing.documents.documents_version_check": second("pricing.documents", **document("plan", "a", 0)),
    "pricing.documents.one_content_per_version": again("pricing.documents", "version", "body", "sha256"),
    "pricing.documents.digest_is_of_body": second("pricing.documents", sha256="'00'"),
    "pricing.documents.body_is_its_own": second("pricing.documents", version="3"),
    "pricing.documents.documents_are_immutable": does("update pricing.documents set effective_from = now()"),
    "pricing.documents.documents_are_not_truncated": does("truncate pricing.documents"),
    # ledger
    "ledger.accounts.accounts_pkey": again("ledger.accounts", "id"),
    "ledger.accounts.accounts_lane_check": second("ledger.accounts", lane="64"),
    "ledger.accounts.accounts_by_owner": again("ledger.accounts", "code"),
    "ledger.accounts.amounts_not_negative": second("ledger.accounts", credits_pending="-1"),
    "ledger.accounts.no_overdraft": second("ledger.accounts", flags="1", debits_posted="1", debits_pending="1", credits_posted="1"),
    "ledger.accounts.no_delete": does("delete from ledger.accounts"),
    "ledger.accounts.no_truncate": does("truncate ledger.accounts"),
    "ledger.transfers.transfers_pkey": again("ledger.transfers", "id"),
    "ledger.transfers.transfers_amount_check": second("ledger.transfers", amount="-1"),
    "ledger.transfers.transfers_hold_amount_check": second("ledger.transfers", hold_amount="-1"),
    "ledger.transfers.transfers_requested_check": second("ledger.transfers", requested="-1"),
    "ledger.transfers.transfers_total_check": second("ledger.transfers", total="-1"),
    "ledger.transfers.transfers_check": second("ledger.transfers", credit="1"),
    "ledger.transfers.transfers_check1": second("ledger.transfers", phase="1", hold_amount="5"),
    "ledger.transfers.transfers_check2": second("ledger.transfers", **LATE, kind="2"),
    "ledger.transfers.transfers_check3": second("ledger.transfers", **LATE, kind="8", status="1"),
    "ledger.transfers.transfers_check4": second("ledger.transfers", requested="null"),
    "ledger.transfers.transfers_check5": second("ledger.transfers", total="null"),
    "ledger.transfers.transfers_check6": second("ledger.transfers", phase="1", kind="2"),
    "ledger.transfers.append_only": does("update ledger.transfers set amount = amount + 1; delete from ledger.transfers"),
    "ledger.transfers.append_only_truncate": does("truncate ledger.transfers"),
    "ledger.transfers_other.append_only_truncate": does("truncate ledger.transfers_other"),
    "ledger.transfers_<day>.append_only_truncate": does("truncate ledger.transfers_<day>"),
    "ledger.holds.holds_pkey": again("ledger.holds", "id"),
    "ledger.holds.holds_amount_check": second("ledger.holds", amount="-1"),
    # jobs
    "jobs.jobs.jobs_pkey": again("jobs.jobs", "id"),
    "jobs.jobs.jobs_state_check": second("jobs.jobs", state="'lost'"),
    "jobs.jobs.jobs_progress_check": second("jobs.jobs", progress="101"),
    "jobs.jobs.leased_while_running": second("jobs.jobs", lease_until="now()"),
    "jobs.jobs.ended_has_time": second("jobs.jobs", completed_at="now()"),
    "jobs.jobs.failed_says_why": second("jobs.jobs", error_code="'why'"),
    "jobs.jobs.completed_has_object": second("jobs.jobs", state="'completed'", completed_at="now()"),
    "jobs.jobs.ordered_has_an_end": either(second("jobs.jobs", ordered_at="now()"), second("jobs.jobs", provider_until="now()")),
    "jobs.jobs.provider_job_was_ordered": second("jobs.jobs", provider_job="'p'"),
    "jobs.jobs.unknown_was_ordered": second("jobs.jobs", unknown_since="now()", unknown_reason="'why'"),
    "jobs.jobs.unknown_says_why": either(
        second("jobs.jobs", **ORDERED, unknown_since="now()"),
        second("jobs.jobs", unknown_reason="'why'"),
    ),
    "jobs.jobs.verdict_is_known": either(
        second("jobs.jobs", **ORDERED, provider_verdict="'lost'"),
        second("jobs.jobs", provider_verdict="'completed'"),
    ),
    # metering
    "metering.processes.processes_pkey": again("metering.processes", "id"),
    "metering.requests.requests_pkey": again("metering.requests", "id"),
    "metering.requests.requests_held_utok_check": second("metering.requests", held_utok="-1"),
    "metering.requests.append_only": does("update metering.requests set held_utok = 0"),
    "metering.requests.append_only_truncate": does("truncate metering.requests cascade"),
    "metering.receipts.receipts_pkey": again("metering.receipts", "phase"),
    "metering.receipts.receipts_id_fkey": second("metering.receipts", id=NEITHER),
    "metering.receipts.receipts_outcome_check": second("metering.receipts", outcome="'lost'"),
    "metering.receipts.receipts_consumed_utok_check": second("metering.receipts", consumed_utok="-1"),
    "metering.receipts.receipts_charged_utok_check": second("metering.receipts", charged_utok="-1"),
    "metering.receipts.receipts_shortfall_utok_check": second("metering.receipts", shortfall_utok="-1"),
    "metering.receipts.receipts_engine_ms_check": second("metering.receipts", engine_ms="-1"),
    "metering.receipts.append_only": does("update metering.receipts set charged_utok = 0; delete from metering.receipts"),
    "metering.receipts.append_only_truncate": does("truncate metering.receipts"),
    "metering.idempotency.idempotency_pkey": again("metering.idempotency", "key"),
    "metering.idempotency.idempotency_key_check": second("metering.idempotency", key="''"),
    "metering.idempotency.idempotency_fingerprint_check": second("metering.idempotency", fingerprint="''"),
    "metering.idempotency.idempotency_request_id_key": again("metering.idempotency", "request_id"),
    "metering.idempotency.idempotency_request_id_fkey": second("metering.idempotency", request_id=NEITHER),
    "metering.idempotent_answers.idempotent_answers_pkey": again("metering.idempotent_answers", "request_id"),
    "metering.idempotent_answers.idempotent_answers_request_id_fkey": second("metering.idempotent_answers", request_id=NEITHER),
    # refunds
    "metering.refunds.refunds_pkey": again("metering.refunds", "id"),
    "metering.refunds.refunds_request_id_reference_key": again("metering.refunds", "reference"),
    # The trigger looks for the request as well.
    "metering.refunds.refunds_request_id_fkey": does(
        second("metering.refunds", request_id=OTHER).sql, "alter table metering.refunds disable trigger never_above_the_charge"
    ),
    "metering.refunds.refunds_reference_check": second("metering.refunds", reference="''"),
    "metering.refunds.refunds_reason_check": second("metering.refunds", reason="''"),
    "metering.refunds.refunds_operator_check": second("metering.refunds", operator="''"),
    "metering.refunds.refunds_amount_utok_check": second("metering.refunds", amount_utok="0", allowance_utok="0"),
    "metering.refunds.refunds_prepaid_utok_check": second("metering.refunds", prepaid_utok="-1", allowance_utok="6"),
    "metering.refunds.refunds_allowance_utok_check": second("metering.refunds", prepaid_utok="6", allowance_utok="-1"),
    "metering.refunds.parts_make_the_amount": second("metering.refunds", amount_utok="6"),
    "metering.refunds.as_requested": second("metering.refunds", requested_utok="6"),
    "metering.refunds.never_above_the_charge": either(
        second("metering.refunds", amount_utok="36", prepaid_utok="20", allowance_utok="16"),
        second("metering.refunds", amount_utok="16", allowance_utok="16"),
        second("metering.refunds", amount_utok="26", prepaid_utok="21"),
        second("metering.refunds", project_id=OTHER),
    ),
    "metering.refunds.append_only": does("update metering.refunds set reason = 'none'; delete from metering.refunds"),
    "metering.refunds.append_only_truncate": does("truncate metering.refunds"),
    # quotes
    "metering.signing_keys.signing_keys_pkey": again("metering.signing_keys", "id"),
    "metering.signing_keys.signing_keys_id_check": second("metering.signing_keys", id="'short'"),
    "metering.signing_keys.signing_keys_public_key": again("metering.signing_keys", "public"),
    "metering.signing_keys.signing_keys_public_check": second("metering.signing_keys", public="''"),
    "metering.signing_keys.append_only": does(
        "update metering.signing_keys set public = sha256('c'); delete from metering.signing_keys",
        "alter table metering.signing_key_revocations drop constraint signing_key_revocations_key_id_fkey",
    ),
    "metering.signing_keys.append_only_truncate": does("truncate metering.signing_keys cascade"),
    "metering.quotes.quotes_pkey": again("metering.quotes", "id"),
    "metering.quotes.quotes_fingerprint_check": second("metering.quotes", fingerprint="''"),
    "metering.quotes.quotes_maximum_utok_check": second("metering.quotes", maximum_utok="-1"),
    "metering.quotes.never_rewritten": does("update metering.quotes set maximum_utok = 6"),
    "metering.quote_uses.quote_uses_pkey": again("metering.quote_uses", "quote_id"),
    "metering.quote_uses.quote_uses_request_id_key": again("metering.quote_uses", "request_id"),
    # The trigger looks for both as well.
    "metering.quote_uses.quote_uses_quote_id_fkey": does(
        second("metering.quote_uses", quote_id=NEITHER).sql, f"{_parents('metering.quote_uses')}; {TRUSTED}"
    ),
    "metering.quote_uses.quote_uses_request_id_fkey": does(
        second("metering.quote_uses", request_id=NEITHER).sql, f"{_parents('metering.quote_uses')}; {TRUSTED}"
    ),
    "metering.quote_uses.for_its_project": either(
        Attempt(second("metering.quote_uses").sql, STRANGERS),
        Attempt(second("metering.quote_uses").sql.replace(OTHER, NEITHER, 1), STRANGERS),
    ),
    "metering.quote_uses.used_once": does(f"update metering.quote_uses set request_id = {OTHER}", _parents("metering.quote_uses")),  # noqa: S608 - ours
    # sums and reconciliation
    "metering.usage_daily.usage_daily_pkey": again("metering.usage_daily", "day"),
    "metering.usage_daily.no_truncate": does("truncate metering.usage_daily"),
    "metering.usage_positions.usage_positions_pkey": again("metering.usage_positions", "lane"),
    "metering.process_usage.process_usage_pkey": again("metering.process_usage", "process_id"),
    "metering.process_counters.process_counters_pkey": again("metering.process_counters", "process_id"),
    "metering.reconciliations.reconciliations_pkey": again("metering.reconciliations", "name"),
}
