"""What users of other gateways report about engines that fail, each tried on ours."""
# ruff: noqa: ANN401 - the gateway's fixtures

from typing import Any

import pytest

from taximeter.admission.breakers import Breaker, BreakerRules
from taximeter.engines import EngineFailed
from tests.support.asking import ask_chat

pytestmark = pytest.mark.anyio


async def test_litellm_34836_failures_in_a_row_take_an_engine_out_at_once_and_for_the_whole_pause(gateway: Any, tenant: Any) -> None:
    """litellm #34836: twenty-five errors in a row left a deployment in rotation, and a cooldown that was written was kept to only now and then,
    since it was read every ten seconds.

    Here the breaker lives in the process that decides: the call after the fifth failure is refused, and so is every one of the pause.
    """
    gateway.engine.failure = EngineFailed("it broke")
    codes = [(await ask_chat(gateway.http, gateway.url, tenant.key)).error["code"] for _ in range(25)]
    assert codes == ["engine_failed"] * 5 + ["engine_circuit_open"] * 20
    assert len(gateway.engine.jobs) == 5


def test_litellm_40130_a_slower_failure_does_not_shorten_the_pause_and_a_failed_probe_lengthens_it() -> None:
    """litellm #40130: a second failure of a deployment that was cooling down kept the first, shorter deadline.

    Here a call from before the pause is not heard any more, and the pause after a failed probe is twice as long as the one before.
    """
    breaker = Breaker(BreakerRules(failures=1, open_ms=1_000))
    quick, slow = breaker.admit(0, 60_000), breaker.admit(0, 60_000)
    assert quick is not None
    assert slow is not None
    breaker.failed(quick, 10, "engine_unavailable", 0)
    breaker.failed(slow, 900, "engine_failed", 0)
    assert breaker.wait_ms(900) == 110
    probe = breaker.admit(1_010, 60_000)
    assert probe is not None
    breaker.failed(probe, 1_010, "engine_failed", 0)
    assert breaker.wait_ms(1_010) == 2_000


def test_deltallm_247_after_the_pause_the_next_call_decides_and_no_check_in_the_background_is_needed() -> None:
    """deltallm #247: when a cooldown had run out, the deployment stayed out until a check in the background found it healthy, and retries
    went on to one that was cooling down.

    Here the next call after the pause is the probe, and none is let through before it has ended.
    """
    breaker = Breaker(BreakerRules(failures=1, open_ms=1_000))
    first = breaker.admit(0, 60_000)
    assert first is not None
    breaker.failed(first, 0, "engine_failed", 0)
    assert [breaker.admit(moment, 60_000) for moment in (0, 1, 999)] == [None] * 3
    probe = breaker.admit(1_000, 60_000)
    assert probe is not None
    assert breaker.admit(1_000, 60_000) is None
    breaker.succeeded(probe, 1_001)
    assert all(breaker.admit(1_001, 60_000) for _ in range(10))


async def test_litellm_25504_which_engines_are_left_alone_can_be_asked(gateway: Any, tenant: Any) -> None:
    """litellm #25504: which deployments are cooling down, since when, why and until when stands in no interface, only in the log.

    Here operators list every breaker of every process, and everybody sees the state on the health page.
    """
    gateway.engine.failure = EngineFailed("it broke")
    for _ in range(5):
        await ask_chat(gateway.http, gateway.url, tenant.key)
    watch = gateway.office.desk.guard.breakers
    assert [(view.engine, view.model, view.state, view.reason, view.failures) for view in watch.views()] == [
        ("script", "teller@1", "open", "engine_failed", 5)
    ]
    rows: list[Any] = []
    while not rows:
        rows = (await gateway.admin("GET", "/breakers"))["data"]
    assert {"state", "since", "reason", "retry_after_s", "failures", "process"} <= rows[0].keys()
