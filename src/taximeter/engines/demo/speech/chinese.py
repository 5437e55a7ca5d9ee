"""Chinese: numbers and signs as words, characters as pinyin, pinyin as Kokoro's symbols.

Readings come from pypinyin (MIT).  The spelling of a syllable in the phonetic alphabet follows the standard
description of Mandarin (Duanmu, *The Phonology of Standard Chinese*), in the symbols that the model was trained with.
"""

# ruff: noqa: RUF001 - letters of phonetic and Chinese writing are meant, not their Latin look-alikes

import re

from pypinyin import Style, lazy_pinyin
from pypinyin.seg import mmseg

from taximeter.engines.demo.speech.text import HAN

_MARKS = str.maketrans({
    "、": ", ", "，": ", ", "。": ". ", "．": ". ", "！": "! ", "：": ": ", "；": "; ", "？": "? ", "《": " “", "》": "” ",
    "「": " “", "」": "” ", "『": " “", "』": "” ", "【": " (", "】": ") ", "（": " (", "）": ") ", "％": "%", "＋": "+", "＝": "=", "￥": "¥",
    "～": "~", "－": "-", "／": "/",
})  # fmt: skip
_TONES = {"1": "→", "2": "↗", "3": "↓", "4": "↘", "5": ""}
_INITIALS = {
    "zh": "\uab67", "ch": "\uab67ʰ", "sh": "ʂ", "b": "p", "p": "pʰ", "m": "m", "f": "f", "d": "t", "t": "tʰ", "n": "n", "l": "l", "g": "k",
    "k": "kʰ", "h": "x", "j": "ʨ", "q": "ʨʰ", "x": "ɕ", "r": "ɻ", "z": "ʦ", "c": "ʦʰ", "s": "s",
}  # fmt: skip
# ``0`` is where the tone goes.
_FINALS = {
    "a": "a0", "ai": "ai0", "an": "a0n", "ang": "a0ŋ", "ao": "au0", "e": "ɤ0", "ei": "ei0", "en": "ə0n", "eng": "ə0ŋ", "i": "i0", "ia": "ja0",
    "ian": "jɛ0n", "iang": "ja0ŋ", "iao": "jau0", "ie": "je0", "in": "i0n", "iu": "jou0", "ing": "i0ŋ", "iong": "jʊ0ŋ", "ong": "ʊ0ŋ", "ou": "ou0",
    "u": "u0", "ui": "wei0", "ua": "wa0", "uai": "wai0", "uan": "wa0n", "un": "wə0n", "uang": "wa0ŋ", "ueng": "wə0ŋ", "uo": "wo0", "o": "wo0",
    "v": "y0", "ve": "ɥe0", "van": "ɥɛ0n", "vn": "y0n",
}  # fmt: skip
_WHOLE = {"er": "ɚ0", "o": "ɔ0", "io": "jɔ0", "yo": "jɔ0", "ê": "ɛ0", "m": "m0", "n": "n0", "ng": "ŋ0", "hm": "hm0", "hng": "hŋ0"}
_NO_INITIAL = {
    "yi": "i", "ya": "ia", "yan": "ian", "yang": "iang", "yao": "iao", "ye": "ie", "yin": "in", "you": "iu", "ying": "ing", "yong": "iong",
    "yu": "v", "yue": "ve", "yuan": "van", "yun": "vn", "wu": "u", "wa": "ua", "wo": "uo", "wai": "uai", "wei": "ui", "wan": "uan", "wen": "un",
    "wang": "uang", "weng": "ueng", "yai": "iai",
}  # fmt: skip

_DIGITS = "零一二三四五六七八九"
_GROUP_UNITS = ("", "万", "亿", "万亿")
_NUMBER = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?")
_INTEGER_DIGITS_MAX = 16
_SMALL_GROUP = 1_000
_SIGNS = {
    "+": "加", "=": "等于", "&": "和", "×": "乘", "÷": "除以", "℃": "摄氏度", "°": "度", "~": "到", "@": "艾特",
    "$": "美元", "¥": "元", "€": "欧元", "£": "英镑",
}  # fmt: skip
_MONEY = re.compile(r"([$¥€£])\s?(\d[\d,]*(?:\.\d+)?)([万亿]?)(?:[元块]|美元|欧元|英镑)?")
_PERCENT = re.compile(r"(\d[\d,]*(?:\.\d+)?)\s?%")
_YEAR = re.compile(r"(\d{4})(?=\s?年)")
_TWO = re.compile(r"(?<![\d.])2(?=[个位只次种天本张条件块]\b|[个位只次种天本张条件块][^\d])")
_HAN_RUN = re.compile(f"[{HAN}]+")
_NOT_SPOKEN = re.compile(r"[^;:,.!?—…\"()“” ]+")


def phonemes(text: str) -> str:
    """A stretch of Chinese in the model's symbols; what cannot be read is left out."""
    spoken = normalise(text)
    line: list[str] = []
    end = 0
    for match in _HAN_RUN.finditer(spoken):
        line.append(_NOT_SPOKEN.sub(" ", spoken[end : match.start()]))
        line.append(" ".join(_word(word) for word in mmseg.seg.cut(match.group())))
        end = match.end()
    line.append(_NOT_SPOKEN.sub(" ", spoken[end:]))
    return "".join(line)


def normalise(text: str) -> str:
    """Write numbers and signs in characters: ``42%`` becomes ``百分之四十二``."""
    text = text.translate(_MARKS)
    text = _YEAR.sub(lambda match: _digits(match.group(1)), text)
    text = _MONEY.sub(lambda match: f"{match.group(2)}{match.group(3)}{_SIGNS[match.group(1)]}", text)
    text = _PERCENT.sub(lambda match: f"百分之{match.group(1)}", text)
    text = _TWO.sub("两", text)
    text = re.sub(r"(?<=\d)\s?-\s?(?=\d)", "至", text)
    text = re.sub(r"(?<![\dA-Za-z])-(?=\d)", "负", text)
    text = _NUMBER.sub(lambda match: number(match.group()), text)
    return "".join(_SIGNS.get(letter, letter) for letter in text)


def number(digits: str) -> str:
    """Read a decimal number: ``1,234.5`` is ``一千二百三十四点五``; very long ones digit by digit."""
    whole, _, fraction = digits.replace(",", "").partition(".")
    by_digit = len(whole) > _INTEGER_DIGITS_MAX or (len(whole) > 1 and whole[0] == "0")
    words = _digits(whole) if by_digit else _integer(int(whole))
    return f"{words}点{_digits(fraction)}" if fraction else words


def syllable(pinyin: str) -> str:
    """One syllable such as ``zhong1`` in the model's symbols; the empty string when there is no such syllable."""
    plain, tone = pinyin[:-1].replace("ü", "v"), _TONES.get(pinyin[-1:])
    if tone is None:
        return ""
    if plain in _WHOLE:
        return _WHOLE[plain].replace("0", tone)
    initial = next((start for start in _INITIALS if plain.startswith(start)), "")
    final = plain[len(initial) :]
    if not initial:
        final = _NO_INITIAL.get(plain, plain)
    elif initial in {"j", "q", "x"} and final.startswith("u"):
        final = "v" + final[1:]
    if final == "i" and initial in {"zh", "ch", "sh", "r", "z", "c", "s"}:
        # The buzzing vowel of "zhi" and "zi"; the model has one symbol for both.
        return f"{_INITIALS[initial]}ɨ{tone}"
    sound = _FINALS.get(final)
    return "" if sound is None else _INITIALS.get(initial, "") + sound.replace("0", tone)


def _word(word: str) -> str:
    return "".join(syllable(pinyin) for pinyin in lazy_pinyin(word, style=Style.TONE3, neutral_tone_with_five=True, errors="ignore"))


def _digits(digits: str) -> str:
    return "".join(_DIGITS[int(digit)] for digit in digits)


def _integer(value: int) -> str:
    if value == 0:
        return _DIGITS[0]
    words = ""
    gap = False
    for power in range(len(_GROUP_UNITS) - 1, -1, -1):
        group = value // 10_000**power % 10_000
        if group == 0:
            gap = gap or words != ""
            continue
        if words and (gap or group < _SMALL_GROUP):
            words += _DIGITS[0]
        words += _group(group) + _GROUP_UNITS[power]
        gap = False
    return words.removeprefix("一") if words.startswith("一十") else words


def _group(value: int) -> str:
    words = ""
    gap = False
    for unit, name in ((1_000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = value // unit % 10
        if digit == 0:
            gap = words != ""
            continue
        words += (_DIGITS[0] if gap else "") + _DIGITS[digit] + name
        gap = False
    return words
