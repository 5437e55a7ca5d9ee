"""The HTTP face: OpenAI's routes, the native API, admin, health and pages."""

from taximeter.gateway.application import Surroundings, create_app
from taximeter.gateway.bounded_http import bounded_protocol
from taximeter.gateway.metrics import Metrics
from taximeter.gateway.services import Services

__all__ = ["Metrics", "Services", "Surroundings", "bounded_protocol", "create_app"]
