"""Where loads are read: an engine's occupancy, NVML by a module of its shape, Prometheus over real HTTP."""

import asyncio
import ssl
import sys
import types
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from taximeter.admission.surge.model import Demand, Policy, Sample
from taximeter.admission.surge.policy_file import EnginePlan, NvmlSource, OccupancySource, PrometheusSource, Source
from taximeter.admission.surge.sources import Nvml, Occupancy, Prometheus, describe, open_source, read_answer
from taximeter.engines import EngineUnavailable
from taximeter.kernel.clock import ManualClock
from taximeter.kernel.errors import SetupError
from tests.support.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.anyio

NOW_MS = 1_760_000_000_000
NOW_S = NOW_MS // 1000


class Worker(ScriptedEngine):
    def __init__(self, facts: Mapping[str, Any] | Exception) -> None:
        super().__init__("e", "chat")
        self.facts = facts

    async def check(self) -> Mapping[str, Any]:
        if isinstance(self.facts, Exception):
            raise self.facts
        return self.facts


@pytest.mark.parametrize(
    ("facts", "capacity", "demand", "load_bp"),
    [
        ({"slots": 2, "slots_busy": 0}, None, Demand(), 0),
        ({"slots": 2, "slots_busy": 1}, None, Demand(), 5_000),
        ({"slots": 2, "slots_busy": 2, "jobs": 3}, None, Demand(2), 15_000),
        ({"slots": 2, "slots_busy": 2, "jobs": 2}, None, Demand(5), 25_000),
        ({"slots": 3, "jobs": 1}, None, Demand(), 3_333),
        ({"slots": 2}, 8, Demand(4), 5_000),
        ({}, 8, Demand(4), 5_000),
        ({"slots": 1}, None, Demand(1_000), 40_000),
        # What runs in cheap tiers raises nobody's price.
        ({"slots": 1, "slots_busy": 1, "jobs": 1}, None, Demand(0, 1), 0),
        ({"slots": 2, "slots_busy": 2, "jobs": 2}, None, Demand(1, 1), 5_000),
        ({"slots": 2, "slots_busy": 0}, None, Demand(0, 3), 0),
    ],
)
async def test_occupancy_is_work_at_and_before_the_engine_against_its_slots(
    facts: Mapping[str, Any], capacity: int | None, demand: Demand, load_bp: int
) -> None:
    assert await Occupancy(Worker(facts), capacity).sample(demand) == Sample(load_bp)


@pytest.mark.parametrize("facts", [{}, {"slots": 0}, {"slots": None}, {"slots": True}, {"slots": "2"}, EngineUnavailable("down"), TimeoutError()])
async def test_an_engine_that_does_not_say_what_it_can_do_or_does_not_answer_is_not_idle(facts: Mapping[str, Any] | Exception) -> None:
    sample = await Occupancy(Worker(facts), None).sample(Demand(3))
    assert sample.load_bp is None
    assert sample.reason


async def test_an_engine_that_is_down_is_unknown_even_with_a_capacity() -> None:
    assert (await Occupancy(Worker(EngineUnavailable("down")), 4).sample(Demand(100))).load_bp is None


class NVMLError(Exception):
    pass


def library(loads: list[int | Exception], *, init: Exception | None = None) -> Any:  # noqa: ANN401 - a module
    def start() -> None:
        if init is not None:
            raise init

    def rates(device: int) -> SimpleNamespace:
        load = loads[device]
        if isinstance(load, Exception):
            raise load
        return SimpleNamespace(gpu=load, memory=1)

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=start,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(loads),
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetUtilizationRates=rates,
    )


async def test_gpus_are_percent_and_their_mean_counts() -> None:
    assert await Nvml((), library([100, 71])).sample(Demand()) == Sample(8_550)
    assert await Nvml((1,), library([100, 71])).sample(Demand()) == Sample(7_100)
    source = Nvml((), library([0]))
    assert await source.sample(Demand(99)) == Sample(0)
    await source.close()


async def test_a_gpu_that_does_not_answer_is_not_idle() -> None:
    sample = await Nvml((), library([50, NVMLError("lost")])).sample(Demand())
    assert (sample.load_bp, sample.reason) == (None, "NVML: lost")


async def test_nvml_that_is_missing_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetupError, match="none here"):
        Nvml((), library([]))
    with pytest.raises(SetupError, match="no driver"):
        Nvml((), library([1], init=NVMLError("no driver")))
    plan = EnginePlan("e", Policy(), NvmlSource())
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(SetupError, match="nvidia-ml-py"):
        open_source(plan, {}, ManualClock())
    module = types.ModuleType("pynvml")
    module.__dict__.update(vars(library([40])))
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert await open_source(plan, {}, ManualClock()).sample(Demand()) == Sample(4_000)


def vector(*values: Any, at_s: float = NOW_S) -> dict[str, Any]:  # noqa: ANN401 - JSON
    series = [{"metric": {"gpu": str(number)}, "value": [at_s, value]} for number, value in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": series}}


@asynccontextmanager
async def prometheus(answer: Any, status: int = 200) -> AsyncIterator[tuple[str, list[dict[str, str]]]]:  # noqa: ANN401 - JSON, or seconds to wait
    """A server that answers every query so, and what it was asked."""
    asked: list[dict[str, str]] = []

    async def query(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        if isinstance(answer, float):
            await asyncio.sleep(answer)
        if isinstance(answer, str):
            return web.Response(text=answer, status=status)
        return web.json_response(answer, status=status)

    app = web.Application()
    app.router.add_get("/prom/api/v1/query", query)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/prom/", asked
    finally:
        await runner.cleanup()


async def sampled(answer: Any, *, scale: str = "ratio", status: int = 200, timeout_s: int = 5) -> Sample:  # noqa: ANN401 - JSON
    async with prometheus(answer, status) as (url, asked):
        source = Prometheus(PrometheusSource(url, 'avg(x{a="b"}) + 1', scale, timeout_s=timeout_s), ManualClock(NOW_MS))  # type: ignore[arg-type]
        try:
            sample = await source.sample(Demand(99))
        finally:
            await source.close()
        assert asked == [{"query": 'avg(x{a="b"}) + 1'}]
    return sample


@pytest.mark.parametrize(
    ("answer", "scale", "load_bp"),
    [
        (vector("0.8599999"), "ratio", 8_599),
        (vector("1"), "ratio", 10_000),
        (vector("1.25"), "ratio", 12_500),
        (vector("0"), "ratio", 0),
        (vector("87.5"), "percent", 8_750),
        (vector("1"), "percent", 100),
        (vector("8.6e-1"), "ratio", 8_600),
        ({"status": "success", "data": {"resultType": "scalar", "result": [NOW_S, "0.5"]}}, "ratio", 5_000),
        (vector("0.5", at_s=NOW_S - 60), "ratio", 5_000),
    ],
)
async def test_one_fresh_number_of_the_scale_is_the_load(answer: Any, scale: str, load_bp: int) -> None:  # noqa: ANN401 - JSON
    assert await sampled(answer, scale=scale) == Sample(load_bp)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (vector(), "0 numbers"),
        (vector("0.5", "0.6"), "2 numbers"),
        (vector("NaN"), "cannot be a utilisation"),
        (vector("+Inf"), "cannot be a utilisation"),
        (vector("-0.1"), "cannot be a utilisation"),
        # A percentage where a ratio was announced.
        (vector("87.5"), "cannot be a utilisation as a ratio"),
        (vector("1e999999"), "cannot be a utilisation"),
        (vector("much"), "no number"),
        (vector("0.5", at_s=NOW_S - 61), "older than 60 s"),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, "matrix"),
        ({"status": "success", "data": {"resultType": "string", "result": [NOW_S, "0.5"]}}, "string"),
        ({"status": "success", "data": {"resultType": "vector", "result": [{"value": [NOW_S]}]}}, "cannot be read"),
        ({"status": "success"}, "refuses"),
        ({}, "cannot be read"),
        ("<html>", "cannot be read"),
    ],
)
async def test_anything_else_is_unknown_and_never_zero(answer: Any, words: str) -> None:  # noqa: ANN401 - JSON
    sample = await sampled(answer)
    assert sample.load_bp is None
    assert words in sample.reason


async def test_a_query_that_is_refused_says_why() -> None:
    sample = await sampled({"status": "error", "errorType": "bad_data", "error": "parse error"}, status=400)
    assert (sample.load_bp, sample.reason) == (None, "Prometheus refuses the query (parse error)")


@asynccontextmanager
async def guarded(folder: Path) -> AsyncIterator[str]:
    """A server with a certificate of its own making, that wants a token; the certificate is in ``ca.pem``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "prometheus")])
    made = x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key(), serial_number=1)
    made = made.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    (folder / "ca.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(folder / "ca.pem", folder / "key.pem")

    async def query(request: web.Request) -> web.Response:
        if request.headers.get("authorization") != "Bearer right":
            return web.Response(status=401, text="Unauthorized")
        return web.json_response(vector("0.5"))

    app = web.Application()
    app.router.add_get("/api/v1/query", query)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_server_with_its_own_certificate_and_a_token_that_is_replaced_is_asked(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("wrong\n", encoding="utf-8")
    async with guarded(tmp_path) as url:
        source = Prometheus(PrometheusSource(url, "x", "ratio", token_file=str(token), ca_file=str(tmp_path / "ca.pem")), ManualClock(NOW_MS))
        stranger = Prometheus(PrometheusSource(url, "x", "ratio", token_file=str(token)), ManualClock(NOW_MS))
        try:
            assert (await source.sample(Demand())).reason == "Prometheus refuses us (401); see token_file"
            token.write_text("right\n", encoding="utf-8")
            assert await source.sample(Demand()) == Sample(5_000)
            unsure = await stranger.sample(Demand())
            assert (unsure.load_bp, "Certificate" in unsure.reason) == (None, True)
            token.unlink()
            gone = await source.sample(Demand())
            assert (gone.load_bp, gone.reason) == (None, "the token for Prometheus cannot be read (FileNotFoundError)")
            token.write_text("two\nlines", encoding="utf-8")
            assert (await source.sample(Demand())).load_bp is None
        finally:
            await source.close()
            await stranger.close()


@pytest.mark.parametrize("names", [{"token_file": "none"}, {"token_file": "empty"}, {"ca_file": "none"}, {"ca_file": "empty"}])
def test_files_that_cannot_be_used_are_told_at_the_start(tmp_path: Path, names: dict[str, str]) -> None:
    (tmp_path / "empty").touch()
    source = PrometheusSource("https://p", "x", "ratio", **{field: str(tmp_path / name) for field, name in names.items()})  # type: ignore[arg-type]
    with pytest.raises(SetupError, match="cannot be used"):
        Prometheus(source, ManualClock())


async def test_a_server_that_is_slow_or_gone_is_unknown() -> None:
    sample = await sampled(30.0, timeout_s=1)
    assert sample.load_bp is None
    async with prometheus(vector("1")) as (url, _):
        pass
    source = Prometheus(PrometheusSource(url, "x", "ratio"), ManualClock(NOW_MS))
    assert (await source.sample(Demand())).load_bp is None
    await source.close()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (OccupancySource(), "requests against what the engine does at once"),
        (OccupancySource(4), "requests against what the engine does at once (4)"),
        (NvmlSource(), "utilisation of the GPUs (NVML)"),
        (PrometheusSource("http://secret:9090", "x", "ratio"), "a query to Prometheus"),
    ],
)
def test_what_is_told_of_a_source_names_no_server(source: Source, words: str) -> None:
    assert describe(EnginePlan("e", Policy(), source)) == words


def test_both_spellings_of_a_gpu_metric_are_the_queries_affair() -> None:
    """DCGM has renamed its fields; a query takes whichever is there, and says the scale of what comes out."""
    source = PrometheusSource("http://p", "avg(DCGM_FI_DEV_GPU_UTIL) or 100 * avg(DCGM_FI_DEV_GPU_UTIL_RATIO)", "percent")
    body = b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[%d,"93"]}]}}' % NOW_S
    assert read_answer(body, source, NOW_MS) == Sample(9_300)
