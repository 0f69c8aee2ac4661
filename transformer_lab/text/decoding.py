"""From the bytes of a file to text: which encoding, which line ends, and whether it is text at all.

UTF-8 is taken as it is, and so is what begins with a byte order mark. Anything else is never
guessed in silence: the likely encodings are offered, each with a look at what would come of it.
"""

import codecs
import re
import unicodedata
from dataclasses import dataclass
from itertools import islice

from charset_normalizer import from_bytes
from charset_normalizer.constant import IANA_SUPPORTED

from transformer_lab.settings import ConfigError
from transformer_lab.text.errors import CorpusError

LARGEST = 50_000_000  # bytes of a text in UTF-8
LARGEST_FILE = 2 * LARGEST + 2  # in UTF-16 it may be twice as large
MOST_OFFERED = 8
MOST_CUT = 3  # bytes of a character that lacks its end, or its beginning
SAMPLE = 65_536  # bytes from which an encoding is guessed
SHOWN = 60  # characters of a preview
ODD_SHARE = 0.01  # of characters that do not belong in a text
REPLACING = "utf-8-replace"
MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
LABELS = {  # the most common of their kind; offered in this order when nothing else tells
    "cp1252": "Western European (Windows-1252)",
    "mac_roman": "Western European (old Mac)",
    "gb18030": "Chinese, simplified (GB 18030, GBK)",
    "big5": "Chinese, traditional (Big5)",
    "cp932": "Japanese (Shift JIS)",
    "euc_jp": "Japanese (EUC-JP)",
    "iso2022_jp": "Japanese (ISO-2022-JP)",
    "cp949": "Korean (EUC-KR)",
    "cp1251": "Cyrillic (Windows-1251)",
    "koi8_r": "Cyrillic (KOI8-R)",
    "cp1250": "Central European (Windows-1250)",
    "cp1253": "Greek (Windows-1253)",
    "cp1254": "Turkish (Windows-1254)",
    "cp1255": "Hebrew (Windows-1255)",
    "cp1256": "Arabic (Windows-1256)",
    "cp850": "Western European (DOS, code page 850)",
    "cp437": "Western European (DOS, code page 437)",
    "utf-16-le": "UTF-16, little-endian",
    "utf-16-be": "UTF-16, big-endian",
    "utf-32-le": "UTF-32, little-endian",
    "utf-32-be": "UTF-32, big-endian",
    REPLACING: "UTF-8, with � for what does not fit",
}
OLD = ("mac_roman", "cp850", "cp437")
DOCUMENTS = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive, or a document that is one (docx, odt, epub)"),
    (b"{\\rtf", "a Rich Text document"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"\x1f\x8b", "compressed by gzip"),
)
LINE_END = re.compile("\r*\n|[\r\x85\u2028\u2029]")
NOT_ASCII = re.compile(r"\S{0,12}[^\x00-\x7f]\S{0,24}")
LINE_ENDS = {"\r": "CR", "\r\n": "CR LF", "\x85": "NEL", "\u2028": "U+2028", "\u2029": "U+2029"}
PLAIN_CONTROLS = frozenset("\t\n\v\f\r\x1a\x1b\x85")
SHIFTED = re.compile(rb"\x1b\$[@AB]|\x1b\$\([DOPQ]|\x1b\$\)C")  # how ISO 2022 announces characters


@dataclass(frozen=True)
class Guess:
    """An encoding that fits, and the text around the first character that is not ASCII."""

    encoding: str
    preview: str

    @property
    def label(self) -> str:
        """What people call it."""
        return LABELS.get(self.encoding, self.encoding)


class EncodingError(CorpusError):
    """A text in an encoding that nothing names; `guesses` are those that fit, likely ones first."""

    def __init__(self, title: str, why: str, guesses: list[Guess]) -> None:
        names = [guess.encoding for guess in guesses]
        others = f" (others that fit: {', '.join(names[1:])})" if names[1:] else ""
        super().__init__(
            f"{title} is not UTF-8 text ({why}): save it as UTF-8, or name its encoding as you add "
            f"it, as in data add --encoding {names[0]}{others}."
        )
        self.guesses = guesses


@dataclass(frozen=True)
class Decoded:
    """A text with plain line ends; `note` says in sentences what was done to make it so."""

    text: str
    note: str = ""


def decoded(data: bytes, title: str, encoding: str = "") -> Decoded:
    """Bytes as text with plain line ends.

    Without an `encoding` they are UTF-8, or UTF-16 or UTF-32 with a byte order mark or zero bytes
    that leave no doubt. Raises EncodingError when they are in another, ConfigError for an encoding
    that does not exist, and CorpusError for what is no text.
    """
    too_large = CorpusError(
        f"{title} has more than {LARGEST // 10**6} MB, the most a corpus may have: "
        "cut it into parts."
    )
    if len(data) > LARGEST_FILE + 2:  # 2 more for the mark
        raise too_large
    for beginning, kind in DOCUMENTS:
        if data.startswith(beginning):
            raise CorpusError(f"{title} is not a text file but {kind}: save it as plain text.")
    read = _as_said(data, title, encoding) if encoding else _as_found(data, title)
    if len(read.text.encode("utf-8", "surrogatepass")) > LARGEST:
        raise too_large
    ended = _with_plain_ends(read)
    if why := not_text(ended.text):
        raise CorpusError(f"{title} is not a text file: {why}. Save it as plain text.")
    return ended


def not_text(text: str) -> str:
    """Why this is no text; empty when it is one."""
    if "\0" in text:
        return f"its character {text.index(chr(0)) + 1:,} is NUL (number 0), which no text has"
    odd = [
        character
        for character in set(text)
        if unicodedata.category(character) in ("Cc", "Cn", "Cs") and character not in PLAIN_CONTROLS
    ]
    if any(unicodedata.category(character) == "Cs" for character in odd):
        return "it has halves of surrogate pairs"
    share = sum(text.count(character) for character in odd[:200]) / max(len(text), 1)
    if len(odd) > 200 or share > ODD_SHARE:
        return f"{share:.0%} of its characters are control characters or do not exist"
    return ""


def _with_plain_ends(read: Decoded) -> Decoded:
    """The same text with one newline character at the end of each line, however it was ended."""
    found = {end for end in set(LINE_END.findall(read.text)) if end != "\n"}
    if not found:
        return read
    names = sorted({LINE_ENDS.get(end, "CR CR LF") for end in found})
    note = f"Its line ends ({', '.join(names)}) were made plain newlines."
    return Decoded(LINE_END.sub("\n", read.text), f"{read.note} {note}".strip())


def _as_said(data: bytes, title: str, encoding: str) -> Decoded:
    """Decode bytes in an encoding that the user named."""
    if encoding == REPLACING:
        text = data.decode("utf-8", "replace").removeprefix("\ufeff")
        return Decoded(text, f"{text.count('�'):,} characters that do not fit became �.")
    name = _known(encoding)
    try:
        text, left = _decode(data, name)
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{title} is not {encoding} text (byte {error.start:,} does not fit): name another "
            "encoding, or none to be offered those that fit."
        ) from error
    return Decoded(text.removeprefix("\ufeff"), f"It was read as {encoding}. {_cut(left)}".strip())


def _known(encoding: str) -> str:
    """The encoding as Python calls it. Raises ConfigError for one that is none of text."""
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        name = ""
    if name.replace("-", "_") not in {*IANA_SUPPORTED, "iso8859_1"}:
        raise ConfigError(
            "encoding",
            f"There is no encoding {encoding[:40]!r}: choose utf-8, cp1252, gb18030, big5, cp932 "
            "or another that Python knows, or none to be offered those that fit.",
        )
    return name


def _as_found(data: bytes, title: str) -> Decoded:
    """Bytes in the encoding that they announce, or else in UTF-8."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return _marked(data[len(mark) :], title, encoding)
    if b"\0" in data:
        return _wide(data, title)
    if SHIFTED.search(data) and (shifting := guesses(data)):
        raise EncodingError(title, "it shifts between alphabets", shifting)
    return _utf8(data, title)


def _utf8(data: bytes, title: str, *, marked: bool = False) -> Decoded:
    try:
        return Decoded(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        return _almost(data, title, error, marked)


def _marked(data: bytes, title: str, encoding: str) -> Decoded:
    if encoding == "utf-8":
        return _utf8(data, title, marked=True)
    shown = encoding.upper().removesuffix("-LE").removesuffix("-BE")
    try:
        text, left = _decode(data, encoding)
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{title} is not {shown} text, though it begins as such (byte "
            f"{error.start:,} after its mark does not fit): save it as UTF-8."
        ) from error
    return Decoded(text, f"It was read as {shown}. {_cut(left)}".strip())


def _wide(data: bytes, title: str) -> Decoded:
    """Bytes with zeros among them: UTF-16 or UTF-32 without a mark, when only one makes sense."""
    fitting = [fit for encoding in WIDE if (fit := _fitting(data, encoding))]
    plain = {encoding: sum(map(text.count, " \n\reaiou")) for encoding, text, _ in fitting}
    fitting.sort(key=lambda fit: -plain[fit[0]])
    if not fitting:
        raise CorpusError(
            f"{title} is not a text file: its byte {data.index(0) + 1:,} is zero (NUL), which no "
            "text has. Save it as plain text."
        )
    likely = [fit for fit in fitting if plain[fit[0]] >= plain[fitting[0][0]] / 10]
    if len(likely) > 1:
        raise EncodingError(title, "it has zero bytes", [_guess(e, text) for e, text, _ in fitting])
    encoding, text, left = fitting[0]
    return Decoded(text, f"It was read as {encoding.upper()}. {_cut(left)}".strip())


def _almost(data: bytes, title: str, error: UnicodeDecodeError, marked: bool) -> Decoded:
    """UTF-8 cut inside a character, or with surrogate pairs. Raises EncodingError for the rest."""
    text, left = _whole_characters(data)
    if text and (marked or not text.isascii()):  # with ASCII alone nothing would speak for UTF-8
        paired = "" if left else "Its surrogate pairs were joined."
        return Decoded(text, _cut(left) or paired)
    offered = guesses(data)
    if marked:
        offered = [guess for guess in offered if guess.encoding == REPLACING]
    if not offered:
        raise CorpusError(
            f"{title} is not UTF-8 text (byte {error.start:,} does not fit), nor text in any other "
            "encoding: save it as plain text."
        ) from error
    raise EncodingError(title, f"byte {error.start:,} does not fit", offered) from error


def _whole_characters(data: bytes) -> tuple[str, int]:
    """UTF-8 without pieces of characters at both ends, and how many bytes those had.

    Surrogate pairs, as some programs write them, become the characters they stand for. No text
    when something else does not fit.
    """
    begin, end = 0, len(data)
    while begin < min(MOST_CUT, end) and data[begin] & 0xC0 == 0x80:
        begin += 1
    for _ in range(2):
        try:
            text = data[begin:end].decode("utf-8", "surrogatepass")
            joined = text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            if error.encoding != "utf-8" or end - (begin + error.start) > MOST_CUT:
                break
            end = begin + error.start
        else:
            return joined, begin + len(data) - end
    return "", 0


def _cut(left: int) -> str:
    return f"It is cut inside a character; left out because of that: {left} bytes." if left else ""


def _decode(data: bytes, encoding: str, errors: str = "strict") -> tuple[str, int]:
    """The text, and how many bytes at its end are the beginning of a character that is cut off."""
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    text = decoder.decode(data)
    left = len(decoder.getstate()[0])
    if left > MOST_CUT:
        raise UnicodeDecodeError(encoding, data, len(data) - left, len(data), "it is cut off")
    return text, left


def _fitting(data: bytes, encoding: str) -> tuple[str, str, int] | None:
    try:
        text, left = _decode(data, encoding)
    except UnicodeError:
        return None
    return None if not_text(text) else (encoding, text, left)


def guesses(data: bytes) -> list[Guess]:
    """Encodings that fit the whole of `data`, the likely ones first; those alike stand once."""
    found: dict[int, Guess] = {}
    for encoding in _candidates(data):
        if len(found) < MOST_OFFERED and (fit := _fitting(data, encoding)):
            found.setdefault(hash(fit[1]), _guess(encoding, fit[1]))
    replaced = data.decode("utf-8", "replace")
    if replaced.count("�") <= ODD_SHARE * len(replaced) and not not_text(replaced):
        found[0] = _guess(REPLACING, replaced)
    return list(found.values())


def _candidates(data: bytes) -> list[str]:
    """Encodings to try: what charset_normalizer finds likely, the common ones of it first."""
    lines = [line for line in data.splitlines() if not line.isascii() or b"\x1b" in line]
    found = []
    for match in from_bytes(b"\n".join(lines)[:SAMPLE]):
        alike = match.could_be_from_charset
        found.append(next((name for name in LABELS if name in alike), match.encoding))
    found.sort(key=lambda name: name not in LABELS or name in OLD)
    others = [name for name in LABELS if name not in (*WIDE, REPLACING)]
    return list(dict.fromkeys(found + others))


def _guess(encoding: str, text: str) -> Guess:
    """Words with characters that are not ASCII: in those alone the encodings differ."""
    seen: set[str] = set()
    words: list[str] = []
    for match in islice(NOT_ASCII.finditer(text), 10_000):
        word = match[0][:SHOWN]
        if not seen.issuperset(word) and sum(map(len, words)) < SHOWN:
            words.append(word)
            seen.update(word)
    return Guess(encoding, " … ".join(words))
