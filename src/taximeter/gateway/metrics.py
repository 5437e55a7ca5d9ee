"""Prometheus metrics of the gateway, and the ledger's figures at the moment of the scrape."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# From half a millisecond (a refusal) to five minutes (a long stream).
_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """The counters of one process.

    With ``shared_folder`` (the environment's PROMETHEUS_MULTIPROC_DIR) the processes that share a port
    write into files there, and a scrape of any of them answers for all.
    """

    def __init__(self, shared_folder: str = "") -> None:
        # A second series per counter, with the time of its birth: twice the size for nothing we use.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._shared_folder = shared_folder
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "taximeter_http_requests", "Requests answered, by route and status.", ["route", "method", "status"], registry=self._registry
        )
        self._duration = Histogram(
            "taximeter_http_request_duration_seconds",
            "From the first byte in to the last byte out.",
            ["route"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._open = Gauge("taximeter_http_requests_open", "Requests being answered now.", registry=self._registry, multiprocess_mode="livesum")
        self._left = Counter("taximeter_http_clients_gone", "Requests whose client left before the answer was complete.", registry=self._registry)
        tokens = "Tokens of finished chats whose provider counted them, by model and part (prompt, answer), as"
        labels = ["model", "part"]
        self._expected = Counter("taximeter_chat_tokens_expected", f"{tokens} estimated before.", labels, registry=self._registry)
        self._counted = Counter("taximeter_chat_tokens_counted", f"{tokens} counted after.", labels, registry=self._registry)
        self._refusals = Counter("taximeter_refusals", "Requests refused, by the code of the refusal.", ["code"], registry=self._registry)
        self._chats: dict[str, tuple[Counter, Counter, Counter, Counter]] = {}
        self._counts: dict[tuple[str, str, int], Counter] = {}
        self._durations: dict[str, Histogram] = {}

    def started(self) -> None:
        """A request came in."""
        self._open.inc()

    def finished(self, route: str, method: str, status: int, seconds: float, *, client_gone: bool) -> None:
        """A request is over.  ``route`` is the template, never the path: its values are few."""
        self._open.dec()
        key = (route, method, status)
        count = self._counts.get(key)
        if count is None:
            # Finding a child by its labels costs more than counting.
            count = self._counts[key] = self._requests.labels(route, method, str(status))
            self._durations.setdefault(route, self._duration.labels(route))
        count.inc()
        self._durations[route].observe(seconds)
        if client_gone:
            self._left.inc()

    def refused(self, code: str) -> None:
        """A request was refused.  Codes are few: each is a class."""
        self._refusals.labels(code).inc()

    def counted(self, model: str, expected: Mapping[str, int], counted: Mapping[str, int]) -> None:
        """A chat ended: what it was expected to be, and what its provider counted."""
        if not {"prompt_tokens", "total_tokens"} <= expected.keys() & counted.keys():
            return
        counters = self._chats.get(model)
        if counters is None:
            labelled = [family.labels(model, part) for part in ("prompt", "answer") for family in (self._expected, self._counted)]
            counters = self._chats[model] = (labelled[0], labelled[1], labelled[2], labelled[3])
        counters[0].inc(expected["prompt_tokens"])
        counters[1].inc(counted["prompt_tokens"])
        counters[2].inc(expected["total_tokens"] - expected["prompt_tokens"])
        counters[3].inc(counted["total_tokens"] - counted["prompt_tokens"])

    def render(self, figures: Mapping[str, tuple[str, float]]) -> bytes:
        """The text of a scrape; ``figures`` are taken now: name -> (help, value).

        A name may carry one label, as on the page: ``taximeter_receipts_total{kind="worker"}``.  Those that end in ``_total``
        are counters, the others gauges.
        """
        registry = self._registry
        if self._shared_folder:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, self._shared_folder)  # type: ignore[no-untyped-call]
        now = CollectorRegistry()
        now.register(_Figures(figures))
        return generate_latest(registry) + generate_latest(now)


class _Figures:
    """Gauges and counters whose values are known already."""

    def __init__(self, figures: Mapping[str, tuple[str, float]]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, (text, value) in self._figures.items():
            plain, _, rest = name.partition("{")
            label, _, quoted = rest.rstrip("}").partition("=")
            family = families.get(plain)
            if family is None:
                kind = CounterMetricFamily if plain.endswith("_total") else GaugeMetricFamily
                family = families[plain] = kind(plain, text, labels=[label] if label else [])
            family.add_metric([quoted.strip('"')] if label else [], value)
        return families.values()
