"""GET /quote: what a request would cost by the list prices, as a page.  The figures are those of the API: the same code makes them."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from taximeter import meters
from taximeter.gateway.services import Services
from taximeter.kernel.errors import InvalidRequest, NotFound, Refusal
from taximeter.kernel.settings import Settings
from taximeter.pricing import ModelEntry, ModelNotPriced

TEXT_CHARS_MAX = 4000
"""A text on this page: nobody has shown a key, so nobody's long text is counted."""
VALUE_CHARS_MAX = 40

_PATHS = {"chat": "chat/completions", "embeddings": "embeddings", "speech": "audio/speech", "video": "videos", "images": "images/generations"}
_TEXTS = {
    "chat": ("message", "Message", "Name three rivers, and say where each of them ends."),
    "embeddings": ("input", "Text", "The meter is running."),
    "speech": ("input", "Text to say", "Good evening. The meter is running, and here is your receipt."),
    "video": ("prompt", "Prompt", "a red ball over a blue sea"),
    "images": ("prompt", "Prompt", "a red ball over a blue sea"),
    "classification": ("input", "Text", "The meter is running."),
}
# Numbers that a form may say, by modality: name, label, and the default or its key in the model's profile.
_NUMBERS: Mapping[str, Sequence[tuple[str, str, str]]] = {
    "chat": (("max_tokens", "Most tokens of answer", "default_output_tokens"),),
    "speech": (("speed", "Speed", "1"),),
    "video": (("seconds", "Seconds", "default_seconds"), ("fps", "Frames a second", "default_fps"), ("steps", "Steps", "default_steps")),
    "images": (("n", "Images", "1"), ("steps", "Steps", "default_steps")),
}
_CHOICES: Mapping[str, Sequence[tuple[str, str, str]]] = {
    "speech": (("voice", "Voice", "voices"),),
    "video": (("size", "Size", "sizes"),),
    "images": (("size", "Size", "sizes"),),
}
_TIER, _STANDARD = "service_tier", "standard"
_GUIDANCE = "guidance"
# What the form says, and links that were made by hand.
_GUIDED: Mapping[str, bool] = {"on": True, "off": False, "true": True, "false": False}
_SPEECH_FILE = "speech.mp3"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the form; one with ``options`` is a choice, one with ``rows`` a text of several lines."""

    name: str
    label: str
    value: str
    hint: str = ""
    options: tuple[str, ...] = ()
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Cheaper:
    """An alternative, and the address of this page for it."""

    text: str
    tokens_max: str
    money: str
    saved: str
    href: str


@dataclass(slots=True)
class Asked:
    """What the page shows.

    Attributes:
        models: the models there are, by modality.
        running: names of those that something here runs; the others can only be quoted.
        offer: the price, as the API shows it.
        refusal: why there is none.
    """

    models: Mapping[str, Sequence[ModelEntry]]
    running: frozenset[str]
    model: ModelEntry
    fields: Sequence[Field] = ()
    offer: Mapping[str, Any] | None = None
    cheaper: Sequence[Cheaper] = ()
    body: str = ""
    curl_body: str = ""
    python_body: str = ""
    python: str = ""
    output: str = ""
    path: str = ""
    refusal: Refusal | None = None

    @property
    def runs(self) -> bool:
        """Whether something here runs the model."""
        return self.model.name in self.running

    @property
    def status(self) -> int:
        """The page's HTTP status."""
        return 200 if self.refusal is None else self.refusal.status


def is_shown(settings: Settings) -> bool:
    """Whether everybody may see list prices here."""
    return settings.demo or settings.public_prices


def answer(services: Services, query: Mapping[str, str]) -> Asked:
    """The page for what its address says.  Raises NotFound where list prices are nobody's business."""
    models = _models(services)
    if not is_shown(services.settings) or not models:
        message = "This page shows no prices here; `taximeter quote` and POST /v1/quotes do."
        raise NotFound(message)
    by_name = {model.name: model for group in models.values() for model in group}
    running = frozenset(model["id"] for model in services.metering.models() if model["available"])
    first = next((name for name in by_name if name in running), next(iter(by_name)))
    model = by_name.get(query.get("model", "") or first)
    if model is None:
        asked = Asked(models, running, by_name[first])
        asked.refusal = NotFound("There is no model of this name; choose one of those above.")
        return asked
    offered = services.catalog().priced(model.name).offered()
    asked = Asked(models, running, model, fields=_fields(model, query, offered), path=_PATHS.get(model.modality, model.modality))
    try:
        request = _request(model, asked.fields)
        asked.offer, cheaper = services.quotes.listed(model.name, request)
    except Refusal as refusal:
        asked.refusal = refusal
        return asked
    asked.cheaper = [_cheaper(each, asked) for each in cheaper]
    body = {"model": model.name, **request}
    wish = {"model": model.name, "request": request}
    asked.body = shlex.quote(json.dumps(wish, ensure_ascii=False))
    asked.curl_body = shlex.quote(json.dumps(body, ensure_ascii=False))
    asked.python_body = repr(wish)
    asked.output = _SPEECH_FILE if model.modality == "speech" else ""
    asked.python = _python(model, request)
    return asked


def _models(services: Services) -> dict[str, list[ModelEntry]]:
    """The models that have a price, by modality."""
    catalog = services.catalog()
    found: dict[str, list[ModelEntry]] = {}
    for name in sorted(catalog.models):
        try:
            model = catalog.priced(name).model
        except ModelNotPriced:
            continue
        found.setdefault(model.modality, []).append(model)
    return dict(sorted(found.items()))


def _fields(model: ModelEntry, query: Mapping[str, str], tiers: Sequence[str]) -> list[Field]:
    modality, profile = model.modality, model.profile
    name, label, sample = _TEXTS.get(modality, ("input", "Text", "The meter is running."))
    fields = [Field(name, label, query.get(name, sample), rows=3)]
    for name, label, key in _CHOICES.get(modality, ()):
        options = tuple(str(option) for option in profile.get(key, ()))
        if options:
            preferred = str(profile.get(f"default_{name}", options[0]))
            fields.append(Field(name, label, query.get(name) or preferred, options=options))
    for name, label, key in _NUMBERS.get(modality, ()):
        default = key if key.isdecimal() else profile.get(key)
        fields.append(Field(name, label, query.get(name, ""), hint="" if default is None else str(default)))
    guided = _guided(model)
    if guided is not None:
        fields.append(Field(_GUIDANCE, "Guidance", query.get(_GUIDANCE) or _switch(on=guided), options=("on", "off")))
    if len(tiers) > 1:
        fields.append(Field(_TIER, "Service tier", query.get(_TIER) or _STANDARD, options=tuple(tiers)))
    return fields


def _guided(model: ModelEntry) -> bool | None:
    """Whether the model guides unless it is told not to; None: guidance changes nothing of its work."""
    meter, profile = meters.find(model.meter), model.profile
    if meter is None or "passes" not in meter.quantities or profile.get("guidance_by") == "input":
        return None
    if model.modality == "images":
        return {"on": True, "off": False}.get(profile.get(_GUIDANCE, "none"))
    return bool(profile.get(_GUIDANCE, True))


def _switch(*, on: bool) -> str:
    return "on" if on else "off"


def _request(model: ModelEntry, fields: Iterable[Field]) -> dict[str, Any]:
    """The body that the form stands for.  Raises InvalidRequest."""
    request: dict[str, Any] = {}
    numbers = {name for name, _, _ in _NUMBERS.get(model.modality, ())}
    for each in fields:
        most = TEXT_CHARS_MAX if each.rows else VALUE_CHARS_MAX
        if len(each.value) > most:
            message = f"{each.label} has {len(each.value)} characters; this page takes at most {most}, the API takes more"
            raise InvalidRequest(message, param=each.name)
        if not each.value.strip() and not each.rows:
            continue
        if each.name == "message":
            request["messages"] = [{"role": "user", "content": each.value}]
        elif each.name in numbers:
            request[each.name] = _number(each)
        elif each.name == _GUIDANCE:
            request[_GUIDANCE] = _on_or_off(each)
        else:
            request[each.name] = each.value
    return request


def _number(each: Field) -> int | str | float:
    text = each.value.strip()
    if each.name == "seconds":
        # As OpenAI's client sends it.
        return text
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError as error:
        message = f"{each.label} must be a number"
        raise InvalidRequest(message, param=each.name) from error


def _on_or_off(each: Field) -> bool:
    guided = _GUIDED.get(each.value.strip().lower())
    if guided is None:
        message = f"{each.label} must be on or off"
        raise InvalidRequest(message, param=each.name)
    return guided


def _written(value: object) -> str:
    """A value as a field of the form says it."""
    return _switch(on=value) if isinstance(value, bool) else str(value)


def _cheaper(each: Mapping[str, Any], asked: Asked) -> Cheaper:
    values = {one.name: one.value for one in asked.fields} | {change["field"]: _written(change["to"]) for change in each["changes"]}
    kept = {name: value for name, value in values.items() if value}
    return Cheaper(
        text=", ".join(change["text"] for change in each["changes"]),
        tokens_max=each["tokens_max"],
        money=f"{each['money']['maximum']} {each['money']['currency']}",
        saved=each["tokens_saved"],
        href="/quote?" + urlencode({"model": asked.model.name, **kept}),
    )


def _python(model: ModelEntry, request: Mapping[str, Any]) -> str:
    """The call of the official client, as far as it has one."""
    call = {"chat": "chat.completions.create", "embeddings": "embeddings.create", "speech": "audio.speech.create", "video": "videos.create"}.get(
        model.modality
    )
    if call is None:
        return ""
    # Fields that the official client has no name for.
    own = {name: value for name, value in request.items() if name in {"fps", "steps", _GUIDANCE} or (name == _TIER and model.modality != "chat")}
    named = {"model": model.name, **{name: value for name, value in request.items() if name not in own}}
    lines = [f"    {name}={value!r}," for name, value in named.items()]
    if own:
        lines.append(f"    extra_body={own!r},")
    lines.append('    extra_headers={"taximeter-quote": quote["id"]},')
    written = f'.write_to_file("{_SPEECH_FILE}")' if model.modality == "speech" else ""
    return f"client.{call}(\n" + "\n".join(lines) + f"\n){written}"
