"""A program of its own: reads JSON lines of text, writes JSON lines of phonemes, with espeak-ng.

espeak-ng is under the GPL (version 3 or later), the rest of Taximeter is not, so this file imports nothing of
Taximeter and Taximeter never imports it: it is started as ``python -I phonemizer_process.py`` and only text crosses.

    in   {"id": 7, "language": "en-us", "texts": ["Hello world", "again"]}
    out  {"id": 7, "phonemes": ["həl^oʊ wɜːld", "ɐɡɛn"]}        or {"id": 7, "error": "..."}

The end of standard input is the order to stop, so the program never outlives the one that started it.
"""

# ruff: noqa: RUF002 - letters of phonetic and Chinese writing are meant, not their Latin look-alikes

import ctypes
import json
import sys
from collections.abc import Iterable

import espeakng_loader

AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
CHARS_UTF8 = 1
TIE = "^"
IPA_WITH_TIES = 0x02 | 0x80 | (ord(TIE) << 8)
# espeak-ng works through a clause at a time; a text that does not get shorter would loop forever.
CLAUSES_MAX = 10_000


class Espeak:
    """The library, loaded once; its state is global to the process, which is why there is one process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int]
        self._library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        data = espeakng_loader.get_data_path().encode()
        rate = self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, ctypes.c_char_p(data), INITIALIZE_DONT_EXIT)
        if rate <= 0:
            message = f"espeak-ng did not start (code {rate}); reinstall the package espeakng-loader."
            raise RuntimeError(message)
        self._language = ""

    def phonemes(self, text: str, language: str) -> str:
        """International phonetic alphabet of one text; ``^`` ties the letters of one sound."""
        if language != self._language:
            if self._library.espeak_SetVoiceByName(language.encode()) != 0:
                message = f"espeak-ng has no language {language!r}."
                raise ValueError(message)
            self._language = language
        # A NUL byte would end the C string early.
        buffer = ctypes.create_string_buffer(text.replace("\0", " ").encode())
        position = ctypes.c_void_p(ctypes.addressof(buffer))
        clauses: list[str] = []
        while position.value and len(clauses) < CLAUSES_MAX:
            said: bytes | None = self._library.espeak_TextToPhonemes(ctypes.byref(position), CHARS_UTF8, IPA_WITH_TIES)
            clauses.append((said or b"").decode(errors="replace").strip())
        return " ".join(clause for clause in clauses if clause)


def serve(lines: Iterable[str], espeak: Espeak) -> None:
    """Answer every line until the input ends."""
    for line in lines:
        request = json.loads(line)
        answer: dict[str, object] = {"id": request["id"]}
        try:
            answer["phonemes"] = [espeak.phonemes(text, request["language"]) for text in request["texts"]]
        except ValueError as error:
            answer["error"] = str(error)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.stdin, Espeak())
