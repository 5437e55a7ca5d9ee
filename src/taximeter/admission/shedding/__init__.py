"""Load shedding: when more is in flight than an engine can begin in time, the least urgent is refused first."""

from taximeter.admission.shedding.errors import Overloaded
from taximeter.admission.shedding.rules import Line, Patience, Rider
from taximeter.admission.shedding.service import Place, Shedder, patience_of

__all__ = ["Line", "Overloaded", "Patience", "Place", "Rider", "Shedder", "patience_of"]
