"""Refusals of circuit breakers.

EngineCircuitOpen    503 engine_circuit_open   nothing was sent to the engine: Retry-After
"""

from taximeter.kernel.errors import Unavailable


class EngineCircuitOpen(Unavailable):
    """The engine has failed with this model too often; it is left alone for a while."""

    code = "engine_circuit_open"
