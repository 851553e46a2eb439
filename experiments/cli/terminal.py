"""Text for terminals that are not UTF-8: what they cannot show becomes what looks like it."""

import codecs
import io
import sys
import unicodedata

#: characters that have no letters or digits of ASCII in them -> what stands for them
LOOKALIKES = {
    "⊗": "x",
    "×": "x",
    "·": "*",
    "–": "-",
    "—": "-",
    "−": "-",
    "→": "->",
    "←": "<-",
    "≤": "<=",
    "≥": ">=",
    "±": "+-",
    "‖": "||",
    "└": "`",
    "µ": "u",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    **dict(zip("▁▂▃▄▅▆▇█", "_.,-=+*#", strict=True)),
}
LOOKALIKE = "loopscope_lookalike"
#: ASCII under another name: the library of the command line takes a stream called ASCII for a
#: mistake and writes UTF-8 to it
SEVEN_BIT = "loopscope_seven_bit"


def lookalike(text: str) -> str:
    """
    >>> lookalike("1⊗4 – é … 語")
    '1x4 - e ... ?'
    """
    return "".join(map(_ascii, text))


def _ascii(character: str) -> str:
    if character in LOOKALIKES:
        return LOOKALIKES[character]
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or "?"


def _replace(error: UnicodeError) -> tuple[str, int]:
    """The handler of encoding errors, as `codecs.register_error` takes it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return lookalike(error.object[error.start : error.end]), error.end


def _seven_bit(name: str) -> codecs.CodecInfo | None:
    if name != SEVEN_BIT:
        return None
    found = codecs.lookup("ascii")
    return codecs.CodecInfo(
        found.encode,
        found.decode,
        found.streamreader,
        found.streamwriter,
        found.incrementalencoder,
        found.incrementaldecoder,
        SEVEN_BIT,
    )


codecs.register_error(LOOKALIKE, _replace)
codecs.register(_seven_bit)


def fit_output_to_terminal() -> None:
    """Lets standard output and error take any text, whatever their encoding."""
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        name = codecs.lookup(stream.encoding).name
        if name == "ascii":
            stream.reconfigure(encoding=SEVEN_BIT, errors=LOOKALIKE)
        elif not name.startswith("utf"):
            stream.reconfigure(errors=LOOKALIKE)
