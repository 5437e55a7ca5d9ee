"""``taximeter cards new``: draft a model's catalog entry and rate card from its own configuration files."""

import argparse
import re
import sys
from collections.abc import Set as AbstractSet
from fractions import Fraction
from pathlib import Path

from taximeter.cli.arguments import Subparsers
from taximeter.cli.cards import drafting, families, folder, published
from taximeter.kernel.clock import SystemClock, utc_from_ms
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.units import UTOK_PER_TOKEN, parse_tokens
from taximeter.pricing.documents import NAME
from taximeter.pricing.gpus import Gpu, GpuPrice, builtin_gpus, find_gpu
from taximeter.pricing.gpus.files import CURRENCY
from taximeter.pricing.gpus.model import REFERENCE


def add_parser(verbs: Subparsers) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "new",
        help="draft a model and its rate card from the model's files (offline)",
        description="Read a model's configuration files (the layout of diffusers, a Hugging Face config.json, VoxCPM's config.json) and write a "
        "catalog file with a quote-only model and a rate card for one GPU, with every assumption in its notes.  Needs no database and no network.",
    )
    parser.add_argument("--from-config", required=True, type=Path, metavar="DIR", help="the model's folder; weights are not read")
    parser.add_argument("--gpu", required=True, help="a GPU of `taximeter cards gpus`, or a profile of your own (gpu.yaml)")
    parser.add_argument("--name", help="the model's name in the catalog (after the folder; with -draft behind it when the catalog has that name)")
    parser.add_argument("--price-per-hour", type=price, metavar="X", help="what an hour of one GPU costs you (the profile's price)")
    parser.add_argument("--currency", type=currency, metavar="C", help="in what currency (the profile's)")
    parser.add_argument(
        "--reference-price-per-hour", type=price, metavar="X", help=f"what an hour of the reference GPU, one {REFERENCE}, costs in that currency"
    )
    parser.add_argument("--tariff", default="standard", help="the tariff that its Tokens are paid by (standard)")
    parser.add_argument("-f", "--folder", type=Path, metavar="DIR", help="a catalog that the draft is to join, such as one with that tariff")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there (standard output)")


def run(args: argparse.Namespace) -> int:
    """Write the file, and say what was assumed."""
    draft = families.recognise(folder.read_folder(args.from_config), families.readers())
    existing = published.builtin_documents()
    existing += published.folder_documents(args.folder, existing)
    plan = _plan(args, draft.family, {document.entry.name for document in existing if document.kind in ("model", "rate_card")})
    text = drafting.draft_text(draft, plan)
    published.check_text(text, args.out.name if args.out else "draft.yaml", existing)
    if args.out is None:
        print(text, end="")
    else:
        _write(args.out, text)
    _explain([*drafting.card_sentences(draft, plan), *drafting.model_sentences(draft, plan)], args.out, plan)
    return 0


def price(text: str) -> Fraction:
    """A positive plain decimal, for ``type=``."""
    try:
        amount = Fraction(parse_tokens(text), UTOK_PER_TOKEN)
    except ValueError as error:
        message = f"{text!r} is not a plain decimal with at most six digits behind the point, such as 2.50"
        raise argparse.ArgumentTypeError(message) from error
    if amount == 0:
        message = "a price must be above 0"
        raise argparse.ArgumentTypeError(message)
    return amount


def currency(text: str) -> str:
    """An ISO 4217 code, for ``type=``."""
    if not CURRENCY.fullmatch(text):
        message = f"{text!r} is not a code of three capital letters, such as USD"
        raise argparse.ArgumentTypeError(message)
    return text


def _plan(args: argparse.Namespace, family: str, taken: AbstractSet[str]) -> drafting.Plan:
    gpu = find_gpu(args.gpu)
    paid, reference = _prices(args, gpu)
    name = args.name or _free(_slug(args.from_config.resolve().name) or _slug(family), gpu, taken)
    if not NAME.fullmatch(name):
        message = f"--name {name[:100]!r} must be lower-case letters, digits, dots, dashes and underscores, at most 100 of them"
        raise InvalidRequest(message)
    if used := sorted({name, drafting.card_name(name, gpu)} & taken):
        message = f"--name {name!r}: {' and '.join(used)} {'is' if len(used) == 1 else 'are'} in the catalog already; give another, or leave it out"
        raise InvalidRequest(message)
    if len(name) + len(gpu.name) >= 100:  # noqa: PLR2004 - as in documents.NAME
        message = f"--name {name!r} is too long for a card that is named after the model and the GPU; give a shorter one"
        raise InvalidRequest(message)
    today = utc_from_ms(SystemClock().now_ms()).date().isoformat()
    return drafting.Plan(name=name, gpu=gpu, price=paid, reference=reference, tariff=args.tariff, effective_from=today)


def _prices(args: argparse.Namespace, gpu: Gpu) -> tuple[GpuPrice, GpuPrice]:
    """Of this GPU and of the reference GPU, in one currency.  Raises InvalidRequest, saying which option is missing."""
    if args.price_per_hour is None:
        if gpu.price is None:
            message = f"the profile of the {gpu.name} has no price; say what an hour costs with --price-per-hour and --currency"
            raise InvalidRequest(message)
        if args.currency not in (None, gpu.price.currency):
            message = f"the profile's price is in {gpu.price.currency}; give --price-per-hour in {args.currency}"
            raise InvalidRequest(message)
        paid = gpu.price
    else:
        paid = GpuPrice(per_hour=args.price_per_hour, currency=args.currency or (gpu.price.currency if gpu.price else "USD"))
    if args.reference_price_per_hour is not None:
        return paid, GpuPrice(per_hour=args.reference_price_per_hour, currency=paid.currency)
    reference = builtin_gpus()[REFERENCE].price
    assert reference is not None, "the reference GPU has a price: Tokens are made of it"
    if reference.currency != paid.currency:
        message = (
            f"the reference GPU's price is in {reference.currency}; say with --reference-price-per-hour what one {REFERENCE} costs in {paid.currency}"
        )
        raise InvalidRequest(message)
    return paid, reference


def _free(name: str, gpu: Gpu, taken: AbstractSet[str]) -> str:
    """The name, or ``name-draft``, ``name-draft-2`` ...: what the catalog has is never touched by a draft that nobody has named."""
    names = (name, f"{name}-draft", *(f"{name}-draft-{number}" for number in range(2, len(taken) + 3)))
    return next(free for free in names if not {free, drafting.card_name(free, gpu)} & taken)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("._-")[:80].rstrip("._-")


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        message = f"{path} exists; give another name with --out, or remove it"
        raise InvalidRequest(message) from error
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise InvalidRequest(message) from error


def _explain(sentences: list[str], out: Path | None, plan: drafting.Plan) -> None:
    """Beside the file on standard output, or before it on standard error."""
    stream = sys.stdout if out else sys.stderr
    where = f"{out}: " if out else ""
    print(f"{where}model {plan.name}@1 and rate card {plan.card_name}@1, {plan.status}. Assumed:", file=stream)
    for sentence in sentences:
        print(f"- {' '.join(sentence.split())}", file=stream)
