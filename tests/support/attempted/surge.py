"""Surge prices."""

from tests.support.attempts import Attempt, Columns, again, does, second

CHANGE = {"policy_id": "'p'", "policy": "'{}'", "from_pct": "100", "to_pct": "125", "followed_ppm": "900000", "reason": "''", "surplus_utok": "0"}
ROWS: dict[str, tuple[Columns, Columns]] = {
    "admission.surge": (
        {"engine": "'e'", "policy": "'{}'", "source": "'s'", "state": "'{}'", "factor_pct": "125", "load_bp": "9000", "good_until": "now()"},
        {"engine": "'f'"},
    ),
    "admission.surge_changes": ({"engine": "'e'", **CHANGE}, {"engine": "'f'"}),
    "admission.surge_positions": ({"lane": "0", "folded": "1"}, {"lane": "1"}),
}


def attempts() -> dict[str, Attempt]:
    surge, changes, positions = "admission.surge", "admission.surge_changes", "admission.surge_positions"
    return {
        f"{surge}.surge_pkey": again(surge, "engine"),
        f"{surge}.surge_engine_check": second(surge, engine="''"),
        f"{surge}.surge_policy_check": second(surge, policy="'[]'"),
        f"{surge}.surge_state_check": second(surge, state="'[]'"),
        f"{surge}.surge_factor_pct_check": second(surge, factor_pct="126"),
        f"{surge}.surge_load_bp_check": second(surge, load_bp="-1"),
        f"{changes}.surge_changes_pkey": does("insert into admission.surge_changes overriding system value select * from admission.surge_changes"),
        f"{changes}.surge_changes_policy_check": second(changes, policy="'[]'"),
        f"{changes}.surge_changes_to_pct_check": second(changes, to_pct="1005"),
        f"{changes}.surge_changes_changes": second(changes, to_pct="100"),
        f"{changes}.surge_changes_append_only": does("update admission.surge_changes set reason = 'r'; delete from admission.surge_changes"),
        f"{changes}.surge_changes_append_only_truncate": does("truncate admission.surge_changes"),
        f"{positions}.surge_positions_pkey": again(positions, "lane"),
        f"{positions}.surge_positions_lane_check": second(positions, lane="64"),
        f"{positions}.surge_positions_folded_check": second(positions, folded="-1"),
    }
