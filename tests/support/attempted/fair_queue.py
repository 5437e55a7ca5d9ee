"""The fair queue."""

from tests.support.attempts import ID, OTHER, Attempt, Columns, again, does, second

PLACE = {"pool": "'p'", "tenant": ID, "class": "1", "amount_utok": "5", "weight": "1", "cost": "5", "long": "false"}
ROWS: dict[str, tuple[Columns, Columns]] = {
    "admission.pools": ({"name": "'p'", "bounds": "'{1,2,3}'"}, {"name": "'q'"}),
    "admission.pool_tenants": ({"pool": "'p'", "tenant": ID, "tag": "0"}, {"tenant": OTHER}),
    "admission.places": ({"id": ID, **PLACE}, {"id": OTHER}),
}


def attempts() -> dict[str, Attempt]:
    return {
        "admission.pools.pools_pkey": again("admission.pools", "name"),
        "admission.pools.pools_have_slots": second("admission.pools", slots="0"),
        "admission.pools.pools_count_up": does("update admission.pools set waiting = -1"),
        "admission.pools.pools_ahead_check": second("admission.pools", ahead="-1"),
        "admission.pool_tenants.pool_tenants_pkey": again("admission.pool_tenants", "pool", "tenant"),
        "admission.pool_tenants.pool_tenants_count_up": second("admission.pool_tenants", waiting="-1"),
        "jobs.jobs.jobs_rests_check": second("jobs.jobs", rests="-1"),
        "admission.places.places_pkey": again("admission.places", "id"),
        "admission.places.places_class_check": second("admission.places", **{"class": "4"}),
        "admission.places.places_amount_check": second("admission.places", amount_utok="0"),
        "admission.places.places_weight_check": second("admission.places", weight="0"),
    }
