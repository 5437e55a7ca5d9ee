"""English: what is sent to the phonemizer, and its alphabet turned into Kokoro's."""

# ruff: noqa: RUF001 - letters of phonetic and Chinese writing are meant, not their Latin look-alikes

import re

# Punctuation the model was trained with, and what other marks are read as.
_MARKS = str.maketrans({
    "。": ". ", "．": ".", "，": ", ", "、": ", ", "！": "! ", "？": "? ", "；": "; ", "：": ": ",
    "（": " (", "）": ") ", "「": " “", "」": "” ", "『": " “", "』": "” ", "《": " “", "》": "” ", "【": " (", "】": ") ",
    "«": "“", "»": "”", "„": "“", "‘": "'", "’": "'", "–": "—", "―": "—", "[": "(", "]": ")", "{": "(", "}": ")",
})  # fmt: skip
# A mark stands alone when a space, an end or another mark is beside it; inside a word ("3.14", "a:b") espeak reads it.
_BREAK = re.compile(r"([;:,.!?…]+(?=$|[\s\"”)'])|[—“”\"()]+|(?<=\s)-+(?=\s))")
_MONEY = re.compile(r"([$€£¥])\s?(\d[\d,]*(?:\.\d+)?)(?:\s?(thousand|million|billion|trillion|k|m|bn)\b)?", re.IGNORECASE)
_CURRENCY = {"$": "dollars", "€": "euros", "£": "pounds", "¥": "yuan"}
_SCALE = {"k": "thousand", "m": "million", "bn": "billion"}

# espeak's alphabet (a tie joins two letters of one sound) to the model's: longest first.
_SOUNDS: tuple[tuple[str, str], ...] = (
    ("ʔˌn\u0329", "tᵊn"), ("ʔn\u0329", "tᵊn"), ("a^ɪ", "I"), ("a^ʊ", "W"), ("d^ʒ", "ʤ"), ("t^ʃ", "ʧ"), ("e^ɪ", "A"), ("ɔ^ɪ", "Y"),
    ("o^ʊ", "O"), ("ə^l", "ᵊl"), ("^", ""), ("ʲo", "jo"), ("ʲə", "jə"), ("ʲ", ""), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɚ", "əɹ"),
    ("ɪə", "iə"), ("ː", ""), ("r", "ɹ"), ("x", "k"), ("ç", "k"), ("ɐ", "ə"), ("ɬ", "l"), ("\u0303", ""), ("e", "A"), ("o", "ɔ"),
    ("ɾ", "T"), ("ʔ", "t"),
)  # fmt: skip
_SWITCH = re.compile(r"\([\w^-]*\)")
_SYLLABIC = re.compile(r"(\S)\u0329")


def segments(text: str) -> list[tuple[str, str]]:
    """Cut at punctuation: pairs of words for the phonemizer and the mark that follows them."""
    text = _MONEY.sub(_money, text.translate(_MARKS))
    parts = _BREAK.split(text)
    pairs: list[tuple[str, str]] = []
    for index in range(0, len(parts), 2):
        mark = parts[index + 1] if index + 1 < len(parts) else ""
        words = parts[index].strip()
        if words or mark:
            pairs.append((words, _mark(mark)))
    return pairs


def symbols(ipa: str) -> str:
    """One segment of espeak's answer in the model's alphabet."""
    # espeak marks words that it reads in another language, "(fr)...(en)".
    sounds = _SWITCH.sub("", ipa)
    for old, new in _SOUNDS:
        sounds = sounds.replace(old, new)
    return _SYLLABIC.sub(r"ᵊ\1", sounds)


def join(pairs: list[tuple[str, str]]) -> str:
    """Symbols and marks as one line: opening marks lean to the right, others to the left."""
    line = ""
    for sounds, mark in pairs:
        line += sounds
        line += f" {mark}" if mark in {"(", "“", "—"} else f"{mark} "
    return line


def _mark(mark: str) -> str:
    if not mark:
        return ""
    if mark[0] == "-":
        return "—"
    return "…" if mark.startswith(("...", "…")) else mark[0]


def _money(match: re.Match[str]) -> str:
    sign, amount, scale = match.groups()
    words = _SCALE.get(scale.lower(), scale) + " " if scale else ""
    unit = _CURRENCY[sign]
    if not scale and amount == "1":
        unit = unit.removesuffix("s")
    if not scale and sign == "$" and (cents := re.fullmatch(r"([\d,]+)\.(\d\d)", amount)):
        whole, part = cents.groups()
        tail = f" and {int(part)} cents" if part != "00" else ""
        return f"{whole} {'dollar' if whole == '1' else unit}{tail}"
    return f"{amount} {words}{unit}"
