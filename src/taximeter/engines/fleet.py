"""The engines that a gateway or worker can reach: demo hosts and upstreams, from the settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import yaml

from taximeter.engines.model import Engine
from taximeter.engines.openai_http import OpenAIEngine, OpenAIVideoEngine, UpstreamLimits, VideoOptions
from taximeter.engines.remote import RemoteEngine
from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import Settings


class VideoAbilities(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an upstream for videos can do (see ``VideoOptions``)."""

    extra_fields: bool = False
    lookup: bool = False
    idempotent: bool = False


class Upstream(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry of the upstreams file.

    Attributes:
        name: what models in the catalog call their engine.
        base_url: an OpenAI-compatible server, with its ``/v1``.
        api_key_env: the environment variable that holds its key; none when it needs none.
        concurrent_max: how many requests it works on at once; more of them wait in the fair queue.  None: as many as come.  Surge
            prices compare with it.
        videos: this upstream makes videos, and nothing else; what it can do beyond OpenAI's routes (null: nothing).
    """

    name: str
    base_url: str
    api_key_env: str | None = None
    concurrent_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    videos: VideoAbilities | msgspec.UnsetType | None = msgspec.UNSET


class UpstreamsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file: ``upstreams: [...]``."""

    upstreams: list[Upstream]


def build_fleet(settings: Settings, environ: Mapping[str, str]) -> dict[str, Engine]:
    """Every engine by name.  Raises SetupError for a file or variable that cannot be understood."""
    fleet: dict[str, Engine] = {}
    for name, url in _hosts(settings.engine_hosts).items():
        fleet[name] = RemoteEngine(name, url, secret=settings.host_secret)
    if settings.upstreams_file:
        path = Path(settings.upstreams_file)
        own = frozenset(fleet)
        for number, upstream in enumerate(_read_upstreams(path), start=1):
            fault = _fault(upstream, own, frozenset(fleet))
            if fault:
                message = f"upstreams file {path}, entry {number} ({upstream.name!r}): {fault}"
                raise SetupError(message)
            fleet[upstream.name] = _open(upstream, settings, environ)
    return fleet


def read_capacities(settings: Settings) -> dict[str, int]:
    """How many requests the upstreams can do at once, as far as their file says so.  Raises SetupError."""
    if not settings.upstreams_file:
        return {}
    return {one.name: one.concurrent_max for one in _read_upstreams(Path(settings.upstreams_file)) if one.concurrent_max is not None}


def _fault(upstream: Upstream, own: frozenset[str], taken: frozenset[str]) -> str:
    """What is wrong with an entry and what to do; empty when nothing is.  An engine is never replaced by another of its name."""
    if not upstream.name:
        return "its name is empty; give it the name that models in the catalog call their engine"
    if upstream.name in own:
        return "an engine of this name runs here already (a demo engine, or one of TAXIMETER_ENGINE_HOSTS); choose another name"
    if upstream.name in taken:
        return "another entry has this name; give each its own"
    address = f"base_url {upstream.base_url!r} is not an http(s) address such as https://host/v1"
    try:
        parts = urlsplit(upstream.base_url)
        port = parts.port
    except ValueError as error:
        return f"{address} ({error}); correct it"
    return "" if parts.scheme in {"http", "https"} and parts.hostname and port != 0 else f"{address}; correct it"


def _open(upstream: Upstream, settings: Settings, environ: Mapping[str, str]) -> Engine:
    key = ""
    if upstream.api_key_env is not None:
        key = environ.get(upstream.api_key_env, "")
        if not key:
            message = f"upstream {upstream.name!r} needs its key in the variable {upstream.api_key_env}, which is empty"
            raise SetupError(message)
    try:
        if upstream.videos is not msgspec.UNSET:
            able = upstream.videos or VideoAbilities()
            options = VideoOptions(
                extra_fields=able.extra_fields,
                lookup=able.lookup,
                idempotent=able.idempotent,
                poll_s=settings.provider_poll_s,
                grace_s=settings.provider_grace_s,
                slots=upstream.concurrent_max,
            )
            return OpenAIVideoEngine(upstream.name, upstream.base_url, api_key=key, options=options)
        return OpenAIEngine(upstream.name, upstream.base_url, api_key=key, limits=UpstreamLimits(slots=upstream.concurrent_max))
    except ValueError as error:
        raise SetupError(str(error)) from error


def _hosts(text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError as error:
        message = f"TAXIMETER_ENGINE_HOSTS is not a JSON object of addresses ({error})"
        raise SetupError(message) from error


def _read_upstreams(path: Path) -> list[Upstream]:
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return msgspec.convert(content, UpstreamsFile).upstreams
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        message = f"cannot use the upstreams file {path}: {' '.join(str(error).split())}"
        raise SetupError(message) from error
