"""The models' own tokenizers, offline: each reads a vocabulary that is already on this machine."""

from taximeter.meters.tokenizers.bpe import HubTokenizer
from taximeter.meters.tokenizers.counts import ByteTokenizer, Tokenizer
from taximeter.meters.tokenizers.source import NAMES, check_spec, load

__all__ = ["NAMES", "ByteTokenizer", "HubTokenizer", "Tokenizer", "check_spec", "load"]
