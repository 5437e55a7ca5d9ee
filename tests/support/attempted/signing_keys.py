"""Keys that are not trusted any more."""

from tests.support.attempts import KEY_ID, Attempt, Columns, again, does, second

TABLE = "metering.signing_key_revocations"
ROWS: dict[str, tuple[Columns, Columns]] = {
    TABLE: ({"key_id": KEY_ID % "a", "revoked_from": "'2026-01-02'"}, {"revoked_from": "'2026-01-01'"}),
}


def attempts() -> dict[str, Attempt]:
    return {
        f"{TABLE}.signing_key_revocations_pkey": again(TABLE, "revoked_from"),
        f"{TABLE}.signing_key_revocations_key_id_fkey": second(TABLE, key_id=KEY_ID % "z"),
        f"{TABLE}.not_in_the_future": second(TABLE, revoked_from="now() + interval '1 day'"),
        f"{TABLE}.append_only": does("update metering.signing_key_revocations set key_id = key_id; delete from metering.signing_key_revocations"),
        f"{TABLE}.append_only_truncate": does(f"truncate {TABLE}"),
    }
