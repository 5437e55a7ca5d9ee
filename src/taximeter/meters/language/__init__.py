"""Language models by their configuration: parameters, operations and memory, exactly.  Not a meter: ``text_flops`` is."""

from taximeter.meters.language.architecture import Architecture, LanguageWork, context_surcharge, pairs, work
from taximeter.meters.language.drafting import FLOP_QUANTITIES, draft

__all__ = ["FLOP_QUANTITIES", "Architecture", "LanguageWork", "context_surcharge", "draft", "pairs", "work"]
