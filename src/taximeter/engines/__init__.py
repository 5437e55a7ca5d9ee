"""Backends that run models, all behind one protocol; adapters are imported by the composition roots alone."""

from taximeter.engines.errors import EngineError, EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable
from taximeter.engines.model import Chunk, Done, Engine, Event, Job, Media, Modality, Progress, Started, Vectors

__all__ = [
    "Chunk",
    "Done",
    "Engine",
    "EngineError",
    "EngineFailed",
    "EngineRefused",
    "EngineTimeout",
    "EngineUnavailable",
    "Event",
    "Job",
    "Media",
    "Modality",
    "Progress",
    "Started",
    "Vectors",
]
