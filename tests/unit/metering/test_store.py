"""How a batch's limits go to the database."""

import json
from uuid import UUID

import pytest

from taximeter.ledger import Kind, Leg, Operation
from taximeter.metering.store import facts

REQUESTS = ("00000000-0000-0000-0000-000000000001", "requests", 600, 60, False)
TOKENS = ("00000000-0000-0000-0000-000000000002", "tokens", 90_000_000_000, 60, True)
RUNNING = ("00000000-0000-0000-0000-000000000003", "concurrency", 4, 0, False)


def hold(fact: str | None, *take: tuple[str, str, int, int, bool]) -> Operation:
    return Operation(id=UUID(int=1), kind=Kind.HOLD, lane=0, amount_utok=7, legs=(Leg(1, 2),), ttl_s=60, fact=fact, take=take)


def test_each_list_of_limits_is_sent_once_with_the_first_hold_that_has_one() -> None:
    operations = [
        Operation(id=UUID(int=2), kind=Kind.VOID, lane=0, fact='{"a":1}'),
        hold('{"b":2}', REQUESTS, TOKENS),
        hold(None, RUNNING),
        hold("{}", REQUESTS, TOKENS),
        hold(None),
    ]
    void, *holds, plain = facts(operations)
    assert (void, plain) == ('{"a":1}', None)
    first, second, third = (json.loads(fact or "") for fact in holds)
    assert (second, third) == ({"take": 2}, {"take": 1})
    assert first == {
        "take": 1,
        "b": 2,
        "lists": {
            "bucket": f"{{{REQUESTS[0]},{TOKENS[0]},{RUNNING[0]}}}",
            "kind": "{1,2,3}",
            "most": "{600,90000000000,4}",
            "window_s": "{60,60,0}",
            "shadow": "{f,t,f}",
            "ends": "{2,3}",
        },
    }


@pytest.mark.parametrize("fact", [None, "{}", '{"request":{}}'])
def test_a_batch_without_limits_is_sent_as_it_is(fact: str | None) -> None:
    assert facts([hold(fact), hold(fact)]) == [fact, fact]
