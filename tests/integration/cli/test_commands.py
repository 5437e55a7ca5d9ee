"""The commands that work on the database, as a user types them."""

import asyncio
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from taximeter.cli import EXIT_CONFIG, main
from taximeter.cli.projects import open_command_office
from taximeter.db.pool import connect_owner
from taximeter.engines import Done, Vectors
from taximeter.kernel.ids import encode_id
from taximeter.metering import Receipt
from taximeter.pricing import builtin_dir
from tests.support.tenants import open_town

Taximeter = Callable[..., str]
GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "sell-access.md"
PLAN = """
kind: plan
name: trial
version: 1
effective_from: 2026-01-01
allowance_period: once
allowance_tokens: 10
"""


@pytest.fixture
def taximeter(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Taximeter:
    """Runs a command on this test's database and returns what it prints."""
    monkeypatch.setenv("TAXIMETER_DATABASE_URL", database_url)
    monkeypatch.setenv("TAXIMETER_HOME", str(tmp_path))

    def run(*arguments: str, code: int = 0) -> str:
        assert main(arguments) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return run


@pytest.fixture
def project(database_url: str, tmp_path: Path) -> str:
    """The id of a new project named Research."""

    async def create() -> str:
        environ = {"TAXIMETER_DATABASE_URL": database_url, "TAXIMETER_HOME": str(tmp_path)}
        async with open_command_office(environ) as office:
            return encode_id("prj", (await office.tenancy.create_project(None, "Research")).id)

    return asyncio.run(create())


def test_the_commands_of_the_guide_to_selling_access_work_as_they_stand(
    taximeter: Taximeter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sell").mkdir()
    (tmp_path / "sell" / "plans.yaml").write_text(re.findall(r"```yaml\n(.+?)```", guide, re.DOTALL)[0])
    # What `make run` has published.
    taximeter("apply", "-f", str(builtin_dir()))
    shown = {line: taximeter(*shlex.split(line)[1:]) for line in re.findall(r"^\$ (.+)$", guide, re.MULTILINE)}
    assert len(shown) == 13
    bounds = shown["taximeter limits show --project Acme"]
    assert re.search(r"a request for video +2000 Tokens +refuse\n", bounds)
    assert re.search(r"plan +all +120 requests in 60 s +120", bounds)
    assert re.search(r"lim_\w+ +sketch-video +1 request at the same time +1", bounds)
    assert re.search(r"lim_\w+ +all +3000 Tokens in 3600 s +3000 +shadow", bounds)
    assert re.search(r"bud_\w+ +all +15000 Tokens +15000", bounds)
    assert re.search(r"balance +25000\n", shown["taximeter wallet show Acme"])
    assert re.search(r"then standard\n$", shown["taximeter projects plan Acme standard --when period_end --operator kim"])


def test_projects_get_plans_grants_corrections_and_lines(taximeter: Taximeter, tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    monthly = PLAN.replace("trial", "monthly").replace("once", "month")
    later = "kind: plan\nname: later\nversion: 1\neffective_from: 2026-01-01\nallowance_period: none\npostpaid: true\n"
    (tmp_path / "plans" / "plans.yaml").write_text(f"{PLAN}---\n{monthly}---\n{later}")
    taximeter("apply", "-f", str(tmp_path / "plans"))
    project = taximeter("projects", "create", "Sales", "--plan", "trial", "--time-zone", "Europe/Berlin").strip()
    assert re.search(rf"Sales +{project} +trial +USD", taximeter("projects", "list"))
    assert "no time zone 'Europe/Nowhere'" in taximeter("projects", "create", "Lost", "--time-zone", "Europe/Nowhere", code=1)
    assert "Lost" not in taximeter("projects", "list"), "who mistypes the zone tries again, and must not have two"
    assert re.search(r"once of trial +10 +10 ", taximeter("grants", "list", "Sales"))
    assert re.match(r"monthly until \d{4}-\d\d-\d\d 2[23]:00 UTC\n", taximeter("projects", "plan", "Sales", "monthly"))
    assert re.search(r"then trial\n$", taximeter("projects", "plan", project, "trial"))
    given = taximeter("grants", "give", "Sales", "5", "--until", "2100-01-01", "--modality", "speech", "--reason", "a fair", "--reference", "f")
    assert re.fullmatch(r"grt_\w+ given: 5 Tokens; the wallet has 20 available\n", given)
    assert "was given before" in taximeter("grants", "give", "Sales", "5", "--until", "2100-01-01", "--modality", "speech", "--reference", "f")
    assert "expires_at" in taximeter("grants", "give", "Sales", "5", "--until", "2020-01-01", code=1)
    assert re.search(r"booked: 2.5 Tokens\nthe wallet has 22.5 available\n", taximeter("wallet", "correct", "Sales", "2.5", "--reason", "typo"))
    assert re.search(r"booked: -2 Tokens\nthe wallet has 20.5 available\n", taximeter("wallet", "correct", "--reason", "typo", "Sales", "-2"))
    assert "owes nothing" in taximeter("wallet", "pay", "Sales", "1", code=1)
    assert taximeter("wallet", "credit-line", "Sales", "7") == "the wallet has 27.5 available\n"
    assert "0 of them were owed, 1 are bought Tokens\n" in taximeter("wallet", "pay", "Sales", "1", "--reference", "i1")
    shown = taximeter("wallet", "show", "Sales")
    assert re.search(r"balance +28.5\n", shown)
    assert re.search(r"owed +0 of 7\n", shown)
    assert "plan       monthly, renews " in shown
    wallet = json.loads(taximeter("wallet", "show", project, "--json"))
    assert (wallet["balance"], len(wallet["grants"]), wallet["subscription"]["next_plan"]) == ("28.5", 3, "trial")
    assert re.search(rf"Sales +{project} +monthly \(prices: trial\), then trial +USD", taximeter("projects", "list"))
    assert "monthly has ended" in taximeter("projects", "end-plan", "Sales")
    assert re.search(rf"Sales +{project} +none \(prices: trial\) +USD", taximeter("projects", "list"))
    (row,) = [json.loads(line) for line in taximeter("projects", "list", "--json").splitlines() if project in line]
    assert (row["plan"], row["subscription"]) == ("trial", None)
    assert "not subscribed" in taximeter("projects", "end-plan", "Sales", code=1)
    assert "plan       none (prices: trial)\n" in taximeter("wallet", "show", "Sales")
    assert "no plan 'gold' in force" in taximeter("projects", "create", "Gold", "--plan", "gold", code=1)
    assert "everything agrees" in taximeter("replay")


def test_what_is_empty_says_why_and_what_is_wrong_says_what_is_right(taximeter: Taximeter) -> None:
    empty = {
        ("health",): "no living process has called an engine yet\n",
        ("surge",): "no price follows the load of an engine, or nothing was measured yet\n",
        ("surge", "--changes"): "no price has changed with the load\n",
        ("approvals", "list"): "none waits; --state all shows the others\n",
        ("events", "--type", "budget"): "none\n",
    }
    assert {asked: taximeter(*asked) for asked in empty} == empty
    wrong = {
        ("webhooks", "create", "https://example.com", "--type", "nope.*"): "'nope.*' is no type of events",
        ("webhooks", "delete", "whk_x"): "'whk_x' is not a webhook's id (whk_...); `taximeter webhooks list` shows them",
        ("events", "--type", "nope"): "'type' takes approval.decided",
        ("health", "--reset", "e", "m@1"): "`taximeter health` and GET /v1/admin/breakers list them",
    }
    for asked, said in wrong.items():
        assert said in taximeter(*asked, code=1)


def test_migrating_twice_changes_nothing(taximeter: Taximeter) -> None:
    assert taximeter("migrate") == "the database is up to date\n"


def test_limits_are_set_changed_listed_and_removed(taximeter: Taximeter, project: str) -> None:
    text = taximeter("limits", "set", "--project", "Research", "requests", "600")
    limit = re.match(r"lim_\w+", text)
    assert limit is not None
    assert text == f"{limit[0]}: 600 requests in 60 s for {project}\n"
    assert taximeter("limits", "set", "--project", project, "requests", "700").startswith(f"{limit[0]}: 700 requests")
    key = taximeter("keys", "create", "--project", project, "--name", "ci") and re.search(r"key_\w+", taximeter("keys", "list"))
    assert key
    assert "4 at the same time" in taximeter("limits", "set", "--key", key[0], "concurrency", "4")
    assert "1.5 Tokens in 3600 s" in taximeter("limits", "set", "--key", key[0], "tokens", "1.5", "--window", "3600", "--shadow")
    listed = taximeter("limits", "list", "--project", "Research")
    assert [word in listed for word in (limit[0], "700 requests", key[0], "shadow, would have refused 0")] == [True] * 4
    assert taximeter("limits", "remove", limit[0]) == f"removed {limit[0]}: 700 requests in 60 s for {project}\n"
    assert limit[0] not in taximeter("limits", "list")


def test_a_limit_that_cannot_be_is_refused_in_words(taximeter: Taximeter, project: str) -> None:
    assert "say whose limit" in taximeter("limits", "set", "requests", "600", code=1)
    assert "one of --project and --key" in taximeter("limits", "set", "--project", project, "--key", "key_x", "requests", "6", code=1)
    assert "no height of a limit" in taximeter("limits", "set", "--project", project, "requests", "many", code=1)
    assert "not for a limit on requests at the same time" in taximeter(
        "limits", "set", "--project", project, "--window", "5", "concurrency", "6", code=1
    )
    assert "is not a limit's id" in taximeter("limits", "remove", "nothing", code=1)
    assert "no limit with this id" in taximeter("limits", "remove", "lim_00000000000000000000000001", code=1)


def test_a_key_is_created_listed_and_revoked(taximeter: Taximeter, project: str) -> None:
    text = taximeter("keys", "create", "--project", "Research", "--name", "notebook").strip()
    listed = taximeter("keys", "list", "--project", project)
    assert text not in listed
    key_id = re.findall(r"key_[0-9a-z]{26}", listed)[0]
    assert listed.count("valid") == 1
    assert taximeter("keys", "revoke", "--project", project, key_id) == f"revoked {key_id} (notebook)\n"
    assert "revoked" in taximeter("keys", "list")


def test_unknown_names_are_refused_in_one_line(taximeter: Taximeter, project: str) -> None:
    assert "there is no project with the id or name 'Sales'" in taximeter("keys", "list", "--project", "Sales", code=1)
    assert "is not a key's id" in taximeter("keys", "revoke", "--project", project, "notebook", code=1)
    assert "no key with this id" in taximeter("keys", "revoke", "--project", project, "key_" + "0" * 26, code=1)


def test_a_top_up_with_a_reference_is_booked_once(taximeter: Taximeter, project: str) -> None:
    assert re.fullmatch(
        r"top_\w+ booked: 12\.5 Tokens; the wallet has 12\.5 available\n", taximeter("topup", project, "12.5", "--reference", "a", "--reason", "paid")
    )
    assert re.fullmatch(
        r"top_\w+ was booked before: 12\.5 Tokens; the wallet has 12\.5 available\n", taximeter("topup", "Research", "12.5", "--reference", "a")
    )
    assert taximeter("topup", project, "0.5").endswith("the wallet has 13 available\n")


def test_a_refund_is_booked_once_and_shown_with_the_receipts(taximeter: Taximeter, database_url: str, tmp_path: Path) -> None:
    async def spend() -> tuple[str, str]:
        async with open_town(database_url, tmp_path / "town") as town:
            caller = await town.caller("1000")
            town.engines["embeddings"].script = (Vectors(vectors=[b"\0" * 8] * 2), Done(work={"prompt_tokens": 4, "inputs": 2}))
            ride = await town.metering.open(town.order(caller, "embeddings"))
            (receipt,) = [item async for item in ride.events() if isinstance(item, Receipt)]
            return receipt.public_id, encode_id("prj", caller.project_id)

    receipt_id, project_id = asyncio.run(spend())
    booked = taximeter("refund", receipt_id, "--tokens", "0.000001", "--reason", "a test", "--operator", "Kim")
    assert re.fullmatch(r"rfd_\w+ booked: 0\.000001 Tokens \(0\.000001 to prepaid, 0 to the allowance\)\n", booked)
    assert taximeter("refund", receipt_id, "--tokens", "0.000001", "--reason", "a test") == booked.replace("booked", "was booked before")
    (shown,) = [json.loads(line) for line in taximeter("receipts", "--json", "--project", project_id).splitlines()]
    assert (shown["tokens_refunded"], shown["refunds"][0]["operator"]) == ("0.000001", "Kim")
    assert "0.000001" in taximeter("receipts", "--project", project_id).splitlines()[1]
    assert "can be refunded" in taximeter("refund", receipt_id, "--tokens", "1000", "--reason", "x", "--reference", "more", code=1)
    assert "is not a receipt's id" in taximeter("refund", "nonsense", "--reason", "x", code=1)


def test_nothing_used_is_nothing_to_show(taximeter: Taximeter, project: str) -> None:
    assert taximeter("receipts", "--project", project) == "none\n"
    assert taximeter("usage", "--by", "day,model,key") == "none\n"
    assert taximeter("usage", "--json", "--project", project, "--from", "2026-01-01", "--to", "2026-02-01") == ""


def test_a_catalog_is_published_once(taximeter: Taximeter, tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "plans.yaml").write_text(PLAN, encoding="utf-8")
    assert taximeter("apply", "-f", str(tmp_path / "catalog")).endswith("1 published, 0 unchanged\n")
    assert taximeter("apply", "-f", str(tmp_path / "catalog")) == "0 published, 1 unchanged\n"


def test_a_faulty_catalog_is_refused_with_file_and_line(taximeter: Taximeter, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("kind: rate_card\nname: [\n", encoding="utf-8")
    assert re.search(r"wrong\.yaml:\d+", taximeter("apply", "-f", str(tmp_path), code=1))


def test_a_database_that_cannot_be_used_is_one_line(taximeter: Taximeter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIMETER_DATABASE_URL", "postgresql://me:secretword@127.0.0.1:1/nothing")
    line = taximeter("keys", "list", code=EXIT_CONFIG)
    assert line.count("\n") == 1
    assert "secretword" not in line


def test_without_a_server_the_embedded_database_runs_as_long_as_the_command(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TAXIMETER_DATABASE_URL", raising=False)
    monkeypatch.setenv("TAXIMETER_HOME", str(open_folder))
    assert main(["keys", "list"]) == 0
    assert capsys.readouterr().out == "none\n"
    assert not (open_folder / "postgres" / "postmaster.pid").exists()


def test_the_replay_reads_what_a_client_was_told_and_says_how_far_it_is(
    taximeter: Taximeter, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taximeter("topup", project, "12.5", "--reference", "a")
    assert taximeter("replay").endswith("everything agrees\n")
    told = tmp_path / "told.jsonl"
    told.write_text('{"id": "00000000-0000-7000-8000-000000000001", "kind": "hold", "status": "applied"}\n', encoding="utf-8")
    assert main(["replay", "--acknowledged", str(told), "--progress"]) == 1
    printed = capsys.readouterr()
    assert re.match(r"1 row, \d+ accounts, 0 open holds, 1 acknowledgement, .* charged: 1 difference$", printed.out.splitlines()[0])
    assert "acknowledged and lost: id 00000000-0000-7000-8000-000000000001 operation hold line 1: expected applied" in printed.out
    assert re.search(r"replay: 1 of 1 rows, 100 %, 0 s, 0 s to go", printed.err)
    assert "cannot read" in taximeter("replay", "--acknowledged", str(tmp_path / "nothing"), code=1)
    told.write_text("{}\n", encoding="utf-8")
    assert "line 1 of the acknowledgements" in taximeter("replay", "--acknowledged", str(told), code=1)
    told.write_bytes(b'"\xff"\n')
    assert "line 1 of the acknowledgements" in taximeter("replay", "--acknowledged", str(told), code=1)
    monkeypatch.setattr("sys.stdin", [])
    shown = json.loads(taximeter("replay", "--json", "--acknowledged", "-"))
    assert (shown["agrees"], shown["rows"], shown["differences"]) == (True, 1, [])


def test_reconciling_nothing_shows_every_check_without_a_difference(taximeter: Taximeter, project: str, database_url: str) -> None:
    taximeter("topup", project, "12.5")
    table = taximeter("reconcile").splitlines()
    assert [line.split()[0] for line in table[1:7]] == [
        "ledger_receipts", "holds_requests", "receipts_rollups", "revenue_rollups", "counters_receipts", "objects_jobs",
    ]  # fmt: skip
    asyncio.run(_spoil(database_url))
    assert main(["reconcile", "--json", "--from", "2026-01-01"]) == 1


@pytest.mark.parametrize(("start", "end"), [("2026-12-01", "2026-01-01"), ("2026-01-01", "2026-01-01")])
def test_reconciling_no_day_at_all_is_refused(taximeter: Taximeter, project: str, start: str, end: str) -> None:
    assert project
    said = taximeter("reconcile", "--from", start, "--to", end, code=1)
    assert f"no day lies from {start} up to {end}" in said


async def _spoil(database_url: str) -> None:
    owner = await connect_owner(database_url)
    await owner.execute("update ledger.accounts set debits_posted = 7 where id = 1300")
    await owner.close()


def test_a_receipt_is_explained_and_the_price_book_is_printed(
    taximeter: Taximeter, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def ride() -> str:
        async with open_town(database_url, tmp_path) as town:
            caller = await town.caller()
            town.engines["embeddings"].script = (Vectors(vectors=[bytes(4)]), Done(work={"prompt_tokens": 3, "inputs": 2}))
            opened = await town.metering.open(town.order(caller, "embeddings"))
            assert [item async for item in opened.events() if isinstance(item, Receipt)]
            return encode_id("rcp", opened.id)

    receipt = asyncio.run(ride())
    walk = taximeter("explain", receipt)
    assert walk.startswith(receipt)
    assert "3 prompt tokens x 0.0002 Tokens each" in walk
    assert re.search(r"\d+ figures compared: all agree\n$", walk)
    assert json.loads(taximeter("explain", receipt, "--json"))["agrees"] is True
    assert "there is no receipt with this id" in taximeter("explain", "rcp_" + "0" * 26, code=1)
    assert "is not a receipt's id" in taximeter("explain", "receipt", code=1)

    async def rewrite() -> None:
        owner = await connect_owner(database_url)
        async with owner.transaction():
            await owner.execute("alter table metering.receipts disable trigger append_only")
            await owner.execute("update metering.receipts set consumed_utok = consumed_utok + 1")
        await owner.close()

    asyncio.run(rewrite())
    capsys.readouterr()
    assert main(("explain", receipt)) == 1
    assert "DIFFERS: 0.000601 is stored" in capsys.readouterr().out
    book = taximeter("prices", "standard", "--kind", "tariff").splitlines()
    assert [line.split()[:3] for line in book[1:]] == [["tariff", "standard@1", "past"], ["tariff", "standard@2", "in_force"]]
    assert {json.loads(line)["kind"] for line in taximeter("prices", "--json").splitlines()} == {"model", "rate_card", "tariff", "plan"}


def test_budgets_are_set_once_of_a_kind_listed_and_removed(taximeter: Taximeter, project: str) -> None:
    made = taximeter("budgets", "set", "12.5", "--project", "Research", "--window", "month", "--thresholds", "90")
    (budget,) = re.findall(r"bud_[0-9a-z]{26}", made)
    assert re.search(rf"{budget}  {project}  month +hard +12\.5 +0 +0 +12\.5  \d{{4}}-\d\d-01 00:00 UTC", made)
    assert budget in taximeter("budgets", "set", "20", "--project", project, "--window", "month")
    hourly = taximeter("budgets", "set", "1", "--project", project, "--each-user", "--window", "rolling", "--window-s", "3600", "--soft")
    assert re.search(rf"bud_\w+  each end user of {project}  3600 s +soft", hourly)
    listed = taximeter("budgets", "list", "--project", "Research")
    assert (listed.count("bud_"), "  20  " in listed) == (2, True)
    assert "removed" in taximeter("budgets", "remove", budget)
    assert taximeter("budgets", "list").count("bud_") == 1
    assert "or it was removed" in taximeter("budgets", "remove", budget, code=1)
    with pytest.raises(SystemExit):
        main(("budgets", "set", "1", "--project", project, "--window", "day", "--thresholds", "50,x"))
    assert "such as [50, 80]" in taximeter("budgets", "set", "1", "--project", project, "--window", "day", "--thresholds", "80,50", code=1)
    assert "--each-user are about a project's end users" in taximeter(
        "budgets", "set", "1", "--organisation", "org_" + "0" * 26, "--user", "ada", "--window", "day", code=1
    )


def test_the_health_of_engines_is_listed_and_a_breaker_is_closed(taximeter: Taximeter, database_url: str, tmp_path: Path) -> None:
    assert taximeter("health") == "no living process has called an engine yet\n"

    async def fail() -> None:
        async with open_command_office({"TAXIMETER_DATABASE_URL": database_url, "TAXIMETER_HOME": str(tmp_path)}) as office:
            call_open = office.desk.guard.breakers.admit
            for _ in range(5):
                call_open("gpu-pool", "big@2", 1.0).failed("engine_failed")
            while not await office.breakers.list_all():
                await asyncio.sleep(0.02)
            listed = json.loads(await asyncio.to_thread(taximeter, "health", "--json"))
            assert (listed["engine"], listed["model"], listed["state"], listed["reason"]) == ("gpu-pool", "big@2", "open", "engine_failed")
            assert "no living process" in (await asyncio.to_thread(lambda: taximeter("health", "--reset", "gpu-pool", "big@1", code=1))).lower()
            assert "is closed with the next heartbeat" in await asyncio.to_thread(taximeter, "health", "--reset", "gpu-pool", "big@2")
            while any(view.state != "closed" for view in office.desk.guard.breakers.views()):
                await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(fail(), 20))


def test_a_key_is_revoked_on_record_and_the_file_signs_with_another_one(taximeter: Taximeter) -> None:
    taximeter("signing-keys", "create")
    taximeter("migrate")

    def signing() -> str:
        return str(json.loads(taximeter("signing-keys", "show"))["keys"][0]["kid"])

    first = signing()
    assert "there is no key 'nobody'" in taximeter("signing-keys", "revoke", "nobody", code=1)
    assert "and 2999-01-01T00:00:00+00:00 is still to come" in taximeter("signing-keys", "revoke", first, "--from", "2999-01-01T00:00:00Z", code=1)
    assert signing() == first, "what was refused changes nothing"
    said = taximeter("signing-keys", "revoke", first, "--from", "2026-01-31T13:00:00+01:00")
    second = signing()
    assert second != first
    assert said.splitlines()[0] == f"{first} is revoked for what was issued from 2026-01-31T12:00:00+00:00 on"
    assert f"signs with {second}" in said
    # Once more, from a later time: nothing changes, and nothing is rotated.
    assert "2026-01-31T12:00:00+00:00" in taximeter("signing-keys", "revoke", first)
    assert signing() == second
