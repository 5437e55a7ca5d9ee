"""Adapter to any OpenAI-compatible upstream: chat (streamed or plain) and embeddings over HTTP."""

from taximeter.engines.openai_http.engine import OpenAIEngine
from taximeter.engines.openai_http.link import UpstreamLimits

__all__ = ["OpenAIEngine", "UpstreamLimits"]
