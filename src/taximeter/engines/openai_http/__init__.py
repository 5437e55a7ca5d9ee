"""Adapter to any OpenAI-compatible upstream: chat (streamed or plain), embeddings and videos over HTTP."""

from taximeter.engines.openai_http.engine import OpenAIEngine
from taximeter.engines.openai_http.link import UpstreamLimits
from taximeter.engines.openai_http.videos import OpenAIVideoEngine, VideoOptions

__all__ = ["OpenAIEngine", "OpenAIVideoEngine", "UpstreamLimits", "VideoOptions"]
