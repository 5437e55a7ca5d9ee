"""Images, classification and meters of other packages: priced through the API although nothing here runs them."""
# ruff: noqa: ANN401 - fixtures of the folder, and JSON

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from taximeter import quote
from taximeter.db.pool import connect_owner
from taximeter.metering.fares import METERS
from taximeter.meters import registry
from taximeter.meters.plugins import Plugins
from taximeter.pricing import apply_dir, builtin_dir
from taximeter.pricing.service import apply
from taximeter.pricing.yaml_source import load_dir

pytestmark = pytest.mark.anyio

FLUX, BERT = "flux.1-dev", "bert-base-chinese-sentiment"
PAGES = Path(__file__).parents[3] / "examples" / "meter_plugin" / "catalog"


async def until_listed(gateway: Any, key: str, model: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            _, _, models = await gateway.call("GET", "/v1/models", key)
            found: list[dict[str, Any]] = [one for one in models["data"] if one["id"] == model]
            if found:
                return found[0]
            await asyncio.sleep(0.05)


async def test_images_and_classifications_are_quoted_through_the_api_as_offline(gateway: Any, tenant: Any, database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    for name in ("60-images.yaml", "70-classification.yaml"):
        shutil.copy(builtin_dir() / name, folder)
    owner = await connect_owner(database_url)
    try:
        await apply_dir(owner, folder, METERS)
    finally:
        await owner.close()
    listed = await until_listed(gateway, tenant.key, FLUX)
    assert (listed["modality"], listed["available"]) == ("images", False)
    asked: dict[str, dict[str, Any]] = {
        FLUX: {"prompt": "a fox in the snow", "n": 3, "size": "1536x1024", "steps": 20},
        BERT: {"input": ["这家餐厅的菜很好吃。", "不好"]},
    }
    for model, request in asked.items():
        status, _, told = await gateway.call("POST", "/v1/quotes", tenant.key, json={"model": model, "request": request})
        assert status == 200, told
        fare = quote(model, request)
        assert (told["tokens_expected"], told["tokens_max"]) == (str(fare.tokens), str(fare.tokens_max))
    bad = {"model": FLUX, "request": {"prompt": "x", "size": "1x1"}}
    status, _, refused = await gateway.call("POST", "/v1/quotes", tenant.key, json=bad)
    assert (status, refused["code"]) == (400, "unsupported_size")


async def test_a_meter_that_is_not_installed_is_named_and_the_others_work(
    gateway: Any, tenant: Any, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Published where the package is installed; this gateway does not have it.
    owner = await connect_owner(database_url)
    try:
        await apply(owner, load_dir(PAGES))
    finally:
        await owner.close()
    await until_listed(gateway, tenant.key, "translator")
    monkeypatch.setattr(registry, "_plugins", lambda: Plugins({}, ("the plug-in 'translation' of pages-meter 1.0.0 cannot be loaded",)))
    ask = {"model": "translator", "request": {"text": "Guten Tag", "languages": ["zh"]}}
    status, _, refused = await gateway.call("POST", "/v1/quotes", tenant.key, json=ask)
    assert (status, refused["code"]) == (503, "meter_unavailable")
    assert "'translation' of pages-meter 1.0.0 cannot be loaded" in json.dumps(refused)
    ask = {"model": "painter", "request": {"prompt": "a ball", "seconds": "2", "steps": 8}}
    assert (await gateway.call("POST", "/v1/quotes", tenant.key, json=ask))[0] == 200
