"""The demo engines are made from the settings."""

from pathlib import Path

import pytest

from taximeter.engines.demo import DEMO_ENGINES, demo_engine
from taximeter.engines.errors import EngineUnavailable
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import Settings

pytestmark = pytest.mark.anyio

FILES = {
    "text_model_path": "demo-text",
    "embeddings_model_path": "demo-embeddings",
    "speech_model_path": "demo-speech",
    "speech_styles_path": "demo-speech",
}


@pytest.mark.parametrize("name", DEMO_ENGINES)
async def test_an_engine_has_the_name_and_the_modality_it_is_listed_by(name: str) -> None:
    engine = demo_engine(name, SystemClock(), Settings())
    assert (engine.name, *engine.modalities) == (name, DEMO_ENGINES[name])
    await engine.close()


@pytest.mark.parametrize(("setting", "name"), FILES.items())
def test_a_model_file_that_is_not_there_is_named_by_its_variable(setting: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=f"^TAXIMETER_{setting.upper()} names {tmp_path}/none, which is not a file; "):
        demo_engine(name, SystemClock(), Settings(**{setting: f"{tmp_path}/none"}))  # type: ignore[arg-type]  # the four settings are texts


@pytest.mark.parametrize(("setting", "name"), FILES.items())
async def test_a_model_file_of_ones_own_is_read(setting: str, name: str, tmp_path: Path) -> None:
    broken = tmp_path / "mine.bin"
    broken.write_bytes(b"not a model")
    engine = demo_engine(name, SystemClock(), Settings(**{setting: str(broken)}))  # type: ignore[arg-type]  # as above
    try:
        with pytest.raises(EngineUnavailable):
            await engine.start()  # type: ignore[attr-defined]  # all that have model files can load them early
    finally:
        await engine.close()
