"""Mistakes that a database could make, put in on purpose, in the database of one season: the paper must find them."""

from collections.abc import Mapping

# Each replaces a part of a function by another one.
BUGS: Mapping[str, tuple[str, str, str]] = {
    "gives_slots_twice": ("admission.fill_pool", "running = running + 1,", "running = running,"),
    "spends_the_latest_grant_first": ("admission.grants_of", "order by g.expires_at nulls last,", "order by g.expires_at desc nulls first,"),
    "lets_a_window_be_a_slot_shorter": ("admission.rolled", "b.marks[cardinality(b.marks) - 24]", "b.marks[cardinality(b.marks) - 23]"),
    "gives_back_all_that_a_limit_gave": ("metering.post_limits", "case when p_kinds[e_i[k]] = 2 then v_total[e_i[k]] else 0 end", "0"),
    "lets_a_quote_be_used_again": ("metering.is_released", "select exists (", "select true or exists ("),
    "gives_refunds_to_grants_that_are_over": ("metering.refund_legs", "case when d.over then w.id else d.account end", "d.account"),
}

PATCH = """
do $patch$
declare
    v_text text := pg_get_functiondef('{name}'::regproc);
begin
    assert position($old${old}$old$ in v_text) > 0, 'there is nothing to break';
    execute replace(v_text, $old${old}$old$, $new${new}$new$);
end
$patch$;
"""


def patch_of(bug: str) -> str:
    """The statement that makes a mistake."""
    name, old, new = BUGS[bug]
    return PATCH.format(name=name, old=old, new=new)
