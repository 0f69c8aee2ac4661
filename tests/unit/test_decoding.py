"""Every kind of file that calls itself text ends in the right text, a question or a sentence."""

import random

import pytest

from transformer_lab.lab.text.study import verify
from transformer_lab.settings import ConfigError
from transformer_lab.text.corpora import read_text_file
from transformer_lab.text.decoding import REPLACING, EncodingError, decoded
from transformer_lab.text.errors import CorpusError
from transformer_lab.text.library import Library
from transformer_lab.text.tokenizers import TOKENIZERS

LINES = "The miller went down to the river.\nHe counted seven boats, and none was his.\n" * 4
CURLY = LINES.replace("none", "café’s “none”")
CHINESE = "河水流过村子，老人坐在树下数船。一只，两只，三只，没有第四只。\n" * 8
TRADITIONAL = "河水流過村子，老人坐在樹下數船。\n" * 12
JAPANESE = "川の向こうに船が七つある。八つ目はどこだろう。\n" * 8
KOREAN = "방앗간 주인은 강으로 내려갔다. 그는 배 일곱 척을 세었다.\n" * 8
RUSSIAN = "Мельник пошёл к реке. Он насчитал семь лодок, но ни одна не была его.\n" * 8
POLISH = "Młynarz poszedł nad rzekę. Naliczył siedem łodzi, ale żadna nie była jego.\n" * 8
NAIVE = "naïve Zoë " * 20


def drawn(count: int) -> str:
    """Characters as they occur in Chinese: a few often, thousands once."""
    dice = random.Random(5)
    return "".join(chr(0x4E00 + min(int(dice.expovariate(1 / 700)), 6000)) for _ in range(count))


PLAIN = {
    "UTF-8": LINES,
    "64 characters": LINES[:64],
    "form feeds": LINES.replace("seven", "\f"),
    "right to left": "שלום לכולם, היום נספור סירות. \u202babc\u202c \u200f\n" * 8,
    "combining marks": "e\u0301a\u0300o\u0302 n\u0303 " * 40,
    "composed and not": "é e\u0301 ñ n\u0303 Å A\u030a " * 20,
    "many marks": "h\u0303\u0311\u0325\u0330\u0342" * 40,
    "zero width": "zero\u200bwidth\u200djoin\ufeff mid\u2060 " * 10,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈👍🏽🇩🇪 ok " * 10,
    "one character": "a" * 500,
    "two characters": "ab" * 250,
    "spaces": " " * 500,
    "white space": " \n\t" * 200,
    "newlines": "\n" * 500,
    "one long line": LINES.replace("\n", " "),
    "base64": "9bFlIkpYt5HfavHYMD5hzcS7hsPRxC/+" * 10,
    "HTML": "<script>alert(1)</script><b>a<b<c</b> &amp; <img src=x onerror=alert(2)> " * 5,
    "CSV": 'id,text\n1,"a ""quoted"" line, with\nbreak"\n' * 8,
    "JSON lines": '{"id": 1, "text": "row \\u00e9"}\n' * 8,
    "source": 'def f(x):\n\tif x<0:\n\t\treturn "\\n"\n    # mixed\n' * 8,
    "templates": "{{ user }} {0} %s ${HOME} \\x41 $\\alpha$ <|endoftext|> [MASK] " * 6,
    "thousands of characters": drawn(6000),
    "each character once": "".join(chr(0x4E00 + i) for i in range(2000)),
    "beyond 16 bits": "".join(chr(0x20000 + i % 300) for i in range(900)),
    "colours of a terminal": "\x1b[31mred\x1b[0m plain\n" * 20,
}
READ = {  # the bytes, the text, and a word of what is said of it
    "CR alone": (LINES.replace("\n", "\r").encode(), LINES, "(CR)"),
    "CR LF": (LINES.replace("\n", "\r\n").encode(), LINES, "(CR LF)"),
    "mixed ends": (
        LINES[:100].replace("\n", "\r\n").encode() + LINES[100:].replace("\n", "\r").encode(),
        LINES,
        "(CR, CR LF)",
    ),
    "CR CR LF": (LINES.replace("\n", "\r\r\n").encode(), LINES, "(CR CR LF)"),
    "U+2028": (LINES.replace("\n", "\u2028").encode(), LINES, "(U+2028)"),
    "NEL": (LINES.replace("\n", "\x85").encode(), LINES, "(NEL)"),
    "UTF-8 with a mark": (CURLY.encode("utf-8-sig"), CURLY, ""),
    "UTF-16 with a mark": (b"\xff\xfe" + CURLY.encode("utf-16-le"), CURLY, "UTF-16"),
    "UTF-16 BE with a mark": (b"\xfe\xff" + CURLY.encode("utf-16-be"), CURLY, "UTF-16"),
    "UTF-32 with a mark": (b"\xff\xfe\0\0" + CURLY.encode("utf-32-le"), CURLY, "UTF-32"),
    "UTF-32 BE with a mark": (b"\0\0\xfe\xff" + CURLY.encode("utf-32-be"), CURLY, "UTF-32"),
    "UTF-16 LE": (CURLY.encode("utf-16-le"), CURLY, "UTF-16-LE"),
    "UTF-16 BE": (CURLY.encode("utf-16-be"), CURLY, "UTF-16-BE"),
    "UTF-32 LE": (CURLY.encode("utf-32-le"), CURLY, "UTF-32-LE"),
    "UTF-32 BE": (CURLY.encode("utf-32-be"), CURLY, "UTF-32-BE"),
    "Chinese in UTF-16": (CHINESE.encode("utf-16-be"), CHINESE, "UTF-16-BE"),
    "UTF-16, CR LF": (LINES.replace("\n", "\r\n").encode("utf-16"), LINES, "(CR LF)"),
    "cut at its end": (NAIVE.encode()[:-2] + b"\xc3", NAIVE[:-2], "2 bytes"),
    "cut at its beginning": (NAIVE.encode()[3:], NAIVE[3:], "1 bytes"),
    "UTF-16 cut": (b"\xff\xfe" + CURLY.encode("utf-16-le")[:-1], CURLY[:-1], "1 bytes"),
    "surrogate pairs": (
        LINES[:50].encode() + b"\xed\xa0\xbd\xed\xb8\x80" + LINES[50:].encode(),
        LINES[:50] + "😀" + LINES[50:],
        "surrogate pairs",
    ),
}
READ |= {name: (text.encode(), text, "") for name, text in PLAIN.items()}
ASKED = {  # the bytes, their encoding, and the text
    "cp1252": (CURLY, "cp1252"),
    "cp1250": (POLISH, "cp1250"),
    "cp1251": (RUSSIAN, "cp1251"),
    "KOI8-R": (RUSSIAN, "koi8_r"),
    "GBK": (CHINESE, "gb18030"),
    "GB 18030": (CHINESE + "𠀀", "gb18030"),
    "Big5": (TRADITIONAL, "big5"),
    "Shift JIS": (JAPANESE, "cp932"),
    "EUC-JP": (JAPANESE, "euc_jp"),
    "ISO-2022-JP": (JAPANESE, "iso2022_jp"),
    "EUC-KR": (KOREAN, "cp949"),
    "old Mac": (NAIVE.replace("naïve", "déjà vu, naïve"), "mac_roman"),
}
REFUSED = {
    "empty": (b"", "is empty"),
    "a mark alone": (b"\xef\xbb\xbf", "is empty"),
    "63 characters": (LINES[:63].encode(), "only 63 characters"),
    "a zero byte": (LINES[:50].encode() + b"\0" + LINES[50:].encode(), "byte 51 is zero"),
    "control characters": (bytes(range(1, 32)) * 20, "control characters"),
    "C1 controls": ("\x7f\x80\x85\x9f abc ".encode() * 30, "control characters"),
    "a PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + random.Random(2).randbytes(900), "a PDF"),
    "an office document": (b"PK\x03\x04" + random.Random(3).randbytes(900), "docx"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(200), "not a text file"),
    "noise": (random.Random(4).randbytes(3000), "not a text file"),
    "unassigned characters": (b"\xff\xfe\xfa" * 51, "do not exist"),
    "UTF-16 in name only": (b"\xff\xfe" + b"\x00\xd8" * 90, "not UTF-16"),
}


@pytest.mark.parametrize(("data", "text", "said"), READ.values(), ids=READ)
def test_what_is_text_is_read_right_and_what_was_done_is_reported(tmp_path, data, text, said):
    library = Library(tmp_path / "corpora")
    entry = library.add(data, "a file.txt", "upload")
    assert library.load(entry).text == text
    assert said in entry.note
    assert entry.note == "" or said
    path = tmp_path / "A FILE.TXT"
    path.write_bytes(data)
    corpus = read_text_file(path)
    assert (corpus.text, corpus.note, corpus.sha256) == (text, entry.note, entry.sha256)


@pytest.mark.parametrize("tokenizer", sorted(set(TOKENIZERS) - {"gpt2"}))
def test_every_kind_of_text_comes_back_from_its_tokens(tokenizer):
    for name, (_, text, _) in READ.items():
        learned = TOKENIZERS[tokenizer].learn(text[:2000], 300)
        if tokenizer == "words":
            assert len(learned.encode(text)), name
        else:
            assert verify(learned, text[:2000]).at is None, name


@pytest.mark.parametrize(("text", "encoding"), ASKED.values(), ids=ASKED)
def test_another_encoding_is_asked_for_and_shown_in_words_of_the_text(tmp_path, text, encoding):
    library, data = Library(tmp_path), text.encode(encoding)
    with pytest.raises(EncodingError) as caught:
        library.add(data, "a file.txt", "upload")
    assert "a file.txt is not UTF-8" in str(caught.value)
    assert "--encoding" in str(caught.value)
    guesses = {guess.encoding: guess for guess in caught.value.guesses}
    assert encoding in list(guesses)[:4]
    word = guesses[encoding].preview.split(" … ")[0]
    assert word in text
    assert not word.isascii()
    assert len({guess.preview for guess in caught.value.guesses}) > 1
    assert not list(tmp_path.rglob("*.txt"))
    entry = library.add(data, "a file.txt", "upload", encoding)
    assert library.load(entry).text == text
    assert encoding in entry.note


def test_one_byte_that_does_not_fit_offers_its_likely_meaning_and_a_replacement(tmp_path):
    data = LINES[:90].encode() + b"\x92" + LINES[90:].encode()
    with pytest.raises(EncodingError) as caught:
        decoded(data, "x")
    offered = [guess.encoding for guess in caught.value.guesses]
    assert offered[0] == "cp1252"
    assert decoded(data, "x", "cp1252").text[90] == "’"
    assert offered[-1] == REPLACING
    replaced = decoded(data, "x", REPLACING)
    assert replaced.text == LINES[:90] + "�" + LINES[90:]
    assert "1 characters" in replaced.note


@pytest.mark.parametrize(("data", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_text_is_refused_in_one_sentence_and_leaves_nothing(tmp_path, data, why):
    library = Library(tmp_path / "corpora")
    with pytest.raises(CorpusError, match=why) as caught:
        library.add(data, "a file.txt", "upload")
    assert "a file.txt" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.txt"))
    (tmp_path / "a file.txt").write_bytes(data)
    with pytest.raises(CorpusError, match=why):
        read_text_file(tmp_path / "a file.txt")


@pytest.mark.parametrize(
    "encoding", ["no-such", "hex", "rot13", "a\0b", "é", "punycode", "idna", "undefined", "x" * 999]
)
def test_an_encoding_that_does_not_exist_is_named(encoding):
    with pytest.raises(ConfigError, match="There is no encoding") as caught:
        decoded(LINES.encode(), "x", encoding)
    assert caught.value.field == "encoding"


def test_an_encoding_that_does_not_fit_is_refused():
    with pytest.raises(CorpusError, match="is not big5 text"):
        decoded(b"\xff" * 200, "x", "big5")
    with pytest.raises(CorpusError, match="NUL"):
        decoded(LINES.encode("utf-16-le"), "x", "latin-1")


def test_behind_a_mark_of_utf_8_no_other_encoding_is_offered():
    data = b"\xef\xbb\xbf" + LINES[:90].encode() + b"\x92" + LINES[90:].encode()
    with pytest.raises(EncodingError) as caught:
        decoded(data, "x")
    assert [guess.encoding for guess in caught.value.guesses] == [REPLACING]
    assert decoded(data, "x", REPLACING).text == LINES[:90] + "�" + LINES[90:]


def spoiled(seed: int) -> bytes:
    dice = random.Random(seed)
    kinds = [data for data, _, _ in READ.values()] + [data for data, _ in REFUSED.values()]
    data = bytearray(dice.choice(kinds)[:2000])
    for _ in range(dice.randrange(1, 5)):
        place = dice.randrange(len(data) + 1)
        data[place : place + dice.randrange(20)] = dice.randbytes(dice.randrange(4))
    return bytes(data)


def test_what_is_offered_for_a_spoiled_file_is_then_read():
    refused = set()
    for data in map(spoiled, range(60)):
        try:
            assert not set(decoded(data, "x").text) & {"\0", "\r"}
        except EncodingError as error:
            for guess in error.guesses:
                assert decoded(data, "x", guess.encoding).text
        except CorpusError as error:
            refused.add(str(error))
    assert refused
    assert all("\n" not in sentence for sentence in refused)


def test_every_prefix_of_a_text_is_read_asked_for_or_refused():
    for encoding in ("utf-8", "utf-16", "utf-32", "cp932", "gb18030"):
        data = JAPANESE[:30].encode(encoding)
        for end in range(len(data)):
            try:
                text = decoded(data[:end], "x").text
            except CorpusError:
                continue
            assert encoding.startswith("utf") or end == 0
            assert JAPANESE.startswith(text)
