"""Video diffusion transformers, from their own configuration files: operations by part, passes, experts, frames and memory."""

from taximeter.meters.diffusion.drafts import draft
from taximeter.meters.diffusion.pipeline import Architecture, Film, Pipeline, add_up

__all__ = ["Architecture", "Film", "Pipeline", "add_up", "draft"]
