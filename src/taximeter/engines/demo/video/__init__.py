"""sketch-video: prompts become short animated films by iterative refinement, on any CPU."""

from taximeter.engines.demo.video.caption import packaged_font
from taximeter.engines.demo.video.engine import MODEL, DemoVideo

__all__ = ["MODEL", "DemoVideo", "packaged_font"]
