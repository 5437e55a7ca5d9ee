"""What can be said about a model from its own configuration files: a draft of its entry in the catalog, and what its work costs a GPU."""

from collections.abc import Mapping
from typing import Any

import msgspec

Files = Mapping[str, Mapping[str, Any]]
"""A model's configuration files as JSON objects, by their path inside its folder (``transformer/config.json``)."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one unit of a quantity asks of a GPU.

    It takes ``max(linear_flop / r_linear + attention_flop / r_attention, bytes_moved / bandwidth)`` seconds on a GPU with these rates.

    Attributes:
        quantity: a quantity of the draft's meter.
        label: the card's line, for people.
        linear_flop: operations in matrix products, two for each multiply-add.
        attention_flop: operations in attention scores and values.
        bytes_moved: bytes read from and written to the GPU's memory.
    """

    quantity: str
    label: str
    linear_flop: int = 0
    attention_flop: int = 0
    bytes_moved: int = 0


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A model as its files describe it.

    Attributes:
        family: the architecture, as people call it (``Wan``, ``Llama``).
        modality: as in the catalog.
        meter: the id of the meter that counts its work.
        profile: the ``meter`` entry of the catalog, without its id.
        costs: what the card is made of.
        unpriced: the meter's other quantities.
        resident_bytes: memory that the weights take when everything is loaded.
        assumptions: what the files do not say, sentence by sentence.
    """

    family: str
    modality: str
    meter: str
    profile: Mapping[str, Any]
    costs: tuple[Cost, ...]
    unpriced: tuple[str, ...]
    resident_bytes: int = 0
    assumptions: tuple[str, ...] = ()
