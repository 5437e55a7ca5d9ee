"""The engines that a gateway or worker can reach: demo hosts and upstreams, from the settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from taximeter.engines.model import Engine
from taximeter.engines.openai_http import OpenAIEngine, OpenAIVideoEngine, VideoOptions
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
        videos: this upstream makes videos, and nothing else; what it can do beyond OpenAI's routes.
    """

    name: str
    base_url: str
    api_key_env: str | None = None
    videos: VideoAbilities | None = None


class UpstreamsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file: ``upstreams: [...]``."""

    upstreams: list[Upstream]


def build_fleet(settings: Settings, environ: Mapping[str, str]) -> dict[str, Engine]:
    """Every engine by name.  Raises SetupError for a file or variable that cannot be understood."""
    fleet: dict[str, Engine] = {}
    for name, url in _hosts(settings.engine_hosts).items():
        fleet[name] = RemoteEngine(name, url, secret=settings.host_secret)
    if settings.upstreams_file:
        for upstream in _read_upstreams(Path(settings.upstreams_file)):
            fleet[upstream.name] = _open(upstream, settings, environ)
    return fleet


def _open(upstream: Upstream, settings: Settings, environ: Mapping[str, str]) -> Engine:
    key = ""
    if upstream.api_key_env is not None:
        key = environ.get(upstream.api_key_env, "")
        if not key:
            message = f"upstream {upstream.name!r} needs its key in the variable {upstream.api_key_env}, which is empty"
            raise SetupError(message)
    try:
        if upstream.videos is not None:
            able = upstream.videos
            options = VideoOptions(
                extra_fields=able.extra_fields,
                lookup=able.lookup,
                idempotent=able.idempotent,
                poll_s=settings.provider_poll_s,
                grace_s=settings.provider_grace_s,
            )
            return OpenAIVideoEngine(upstream.name, upstream.base_url, api_key=key, options=options)
        return OpenAIEngine(upstream.name, upstream.base_url, api_key=key)
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
