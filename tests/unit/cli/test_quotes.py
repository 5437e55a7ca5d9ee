"""``taximeter quotes verify`` and ``taximeter signing-keys``: what they print, and how they refuse."""

import json
from pathlib import Path

import pytest

from taximeter import cli

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "quote.json").read_text(encoding="utf-8"))


def verify(tmp_path: Path, quote: object, key: object) -> int:
    (tmp_path / "quote.json").write_text(quote if isinstance(quote, str) else json.dumps(quote), encoding="utf-8")
    (tmp_path / "key.json").write_text(key if isinstance(key, str) else json.dumps(key), encoding="utf-8")
    return cli.main(["quotes", "verify", str(tmp_path / "quote.json"), "--key", str(tmp_path / "key.json")])


@pytest.mark.parametrize("key", [VECTOR["key"], {"keys": [VECTOR["key"]]}])
def test_a_good_quote_says_who_signed_it_what_for_and_until_when(tmp_path: Path, capsys: pytest.CaptureFixture[str], key: object) -> None:
    assert verify(tmp_path, VECTOR["quote"], key) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"signed by {VECTOR['key']['kid']}",
        "quo_00000000000000000000000001: kokoro-82m, at most 0.902 Tokens (0.0002706 USD)",
    ]


@pytest.mark.parametrize(
    ("quote", "key", "says"),
    [
        ({**VECTOR["quote"], "tokens_max": "0.1"}, VECTOR["key"], "the signature does not fit"),
        (VECTOR["quote"], {"keys": []}, "not among those given"),
        (VECTOR["quote"], {**VECTOR["key"], "revoked_from": "2026-11-22T00:00:00Z"}, "is revoked for what was issued from 2026-11-22T00:00:00"),
        (VECTOR["quote"], {**VECTOR["key"], "revoked_from": "yesterday"}, "no JSON Web Key Set"),
        (VECTOR["quote"], "[1]", "no JSON Web Key Set"),
        (VECTOR["quote"], "[" * 100_000, "no JSON Web Key Set"),
        (VECTOR["quote"], {"kty": "RSA"}, "no JSON Web Key Set"),
        ("{", VECTOR["key"], "not the JSON of a quote"),
    ],
)
def test_anything_else_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], quote: object, key: object, says: str) -> None:
    assert verify(tmp_path, quote, key) == 1
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


def test_a_quote_from_before_the_revocation_is_good_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(tmp_path, VECTOR["quote"], {"keys": [{**VECTOR["key"], "revoked_from": "2026-11-22T00:00:01Z"}]}) == 0
    assert "that key is revoked for what was issued from 2026-11-22T00:00:01+00:00 on; the quote says that it is older" in capsys.readouterr().out


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["quotes", "verify", str(tmp_path / "none"), "--key", str(tmp_path / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_keys_are_made_once_rotated_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIMETER_SIGNING_KEYS_FILE", str(tmp_path / "keys.json"))
    assert cli.main(["signing-keys", "show"]) == cli.EXIT_CONFIG
    assert "taximeter signing-keys create" in capsys.readouterr().err
    assert [cli.main(["signing-keys", verb]) for verb in ("create", "create", "rotate")] == [0, cli.EXIT_CONFIG, 0]
    first, second = (line.rpartition("signs with ")[2].partition(";")[0] for line in capsys.readouterr().out.splitlines())
    assert cli.main(["signing-keys", "show"]) == 0
    shown = json.loads(capsys.readouterr().out)["keys"]
    assert [key["kid"] for key in shown] == [second, first]
    assert all("d" not in key for key in shown)
