"""Where texts come from, and what is done with those that cannot be used."""

import contextlib
import hashlib
import http.server
import json
import socket
import sqlite3
import sys
import threading

import numpy as np
import pytest
import torch

from transformer_lab.cli import main
from transformer_lab.lab.text.texts import Texts
from transformer_lab.recipes import Setup
from transformer_lab.settings import ConfigError
from transformer_lab.text import corpora, decoding
from transformer_lab.text.cache import open_cache
from transformer_lab.text.corpora import CORPORA, FILES, TITLES, load_corpus
from transformer_lab.text.errors import CorpusError, CorpusMissingError
from transformer_lab.text.library import Library, clean_name
from transformer_lab.text.overlap import overlap
from transformer_lab.text.split import bits_per_byte, encode_corpus, parts
from transformer_lab.text.tasks import TASKS, held_out, task_text
from waiting import PATIENCE

STORY = "Once upon a time there was a small model that learned to read.\n" * 40


@pytest.fixture
def texts(tmp_path, monkeypatch):
    monkeypatch.delenv("TRANSFORMER_LAB_DATA", raising=False)
    texts = Texts(tmp_path)
    yield texts
    texts.close()


@pytest.mark.parametrize("name", sorted(set(CORPORA) - set(FILES)))
def test_what_is_built_in_needs_no_network(name):
    corpus = load_corpus(name, [])
    assert corpus.characters > 200_000
    assert corpus.sha256 == hashlib.sha256(corpus.text.encode()).hexdigest()
    assert load_corpus(name, []).sha256 == corpus.sha256
    if name == "python_source":
        assert corpus.text.isascii()


@pytest.mark.parametrize("more", [1, decoding.LARGEST + 9])
def test_a_text_that_is_too_large_is_refused_and_leaves_nothing(tmp_path, more):
    library = Library(tmp_path / "corpora")
    with pytest.raises(CorpusError, match="more than 50 MB"):
        library.add(b"x" * (decoding.LARGEST + more), "a file.txt", "upload")
    assert not list(tmp_path.rglob("*.txt"))


@pytest.mark.parametrize(
    "data",
    [
        STORY.encode(),
        STORY.encode("utf-8-sig"),
        STORY.encode("utf-16"),
        b"\xfe\xff" + STORY.encode("utf-16-be"),
        STORY.replace("\n", "\r\n").encode(),
    ],
)
def test_the_same_text_is_one_corpus_however_it_was_written(tmp_path, data):
    library = Library(tmp_path)
    first = library.add(STORY.encode(), "first.txt", "upload")
    again = library.add(data, "again.txt", "upload")
    assert again == first
    assert [entry.name for entry in library.list()] == ["first.txt"]
    assert library.load(first).text == STORY


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\x.txt", "x.txt"),
        ("a\0b\n.txt", "ab.txt"),
        ("..", "Untitled text"),
        ("", "Untitled text"),
        ("<b>bold</b>", "b>"),
        ("x" * 300, "x" * 80),
        ("東京.txt", "東京.txt"),
        ("東京　物語.txt", "東京 物語.txt"),
        ("می‌خواهم.txt", "می‌خواهم.txt"),
        ("\u200d👩‍👧 \u200c", "👩‍👧"),
        ("\u202egpj.txt\u2066", "gpj.txt"),
        ("\u200d", "Untitled text"),
    ],
)
def test_a_name_is_only_ever_shown(tmp_path, given, shown):
    assert clean_name(given) == shown
    entry = Library(tmp_path / "in").add(STORY.encode(), given, "upload")
    assert entry.name == shown
    written = {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*.txt")}
    assert written == {("in", entry.sha256)}


def test_a_text_can_be_renamed_found_and_deleted(tmp_path):
    library = Library(tmp_path)
    entry = library.add(STORY.encode(), "story.txt", "upload")
    library.rename(entry, "a tale")
    assert library.find("a tale").id == library.find(entry.id).id == entry.id
    library.delete(entry)
    assert library.list() == []


def test_a_spoiled_text_is_called_damaged_and_can_be_added_again(tmp_path):
    library = Library(tmp_path)
    entry = library.add(STORY.encode(), "story.txt", "upload")
    (tmp_path / entry.sha256 / "text.txt").write_text("something else")
    with pytest.raises(CorpusError, match="damaged"):
        library.load(entry)
    library.delete(entry)
    assert library.load(library.add(STORY.encode(), "story.txt", "upload")).text == STORY


def test_a_damaged_download_is_called_damaged_not_missing(tmp_path):
    (tmp_path / corpora.TINY_SHAKESPEARE_FILE).write_text("To be")
    with pytest.raises(CorpusError, match="damaged") as caught:
        load_corpus("tiny_shakespeare", [tmp_path])
    assert not isinstance(caught.value, CorpusMissingError)


class Server(http.server.BaseHTTPRequestHandler):
    ending = threading.Event()

    def do_GET(self):
        if self.path == "/stalled":
            self.ending.wait()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(STORY.encode())

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    Server.ending.set()
    server.shutdown()


RIGHT = hashlib.sha256(STORY.encode()).hexdigest()


def test_a_download_with_the_right_hash_is_kept(address, tmp_path):
    assert corpora.download(f"{address}/story", RIGHT, tmp_path).read_text() == STORY


@pytest.mark.parametrize(
    ("path", "sha256", "patience", "why"),
    [
        ("/story", "0" * 64, PATIENCE, "not the known text"),
        ("/stalled", RIGHT, 0.3, "no connection"),
    ],
)
def test_a_download_that_goes_wrong_keeps_nothing(address, tmp_path, path, sha256, patience, why):
    with pytest.raises(CorpusMissingError, match=why):
        corpora.download(address + path, sha256, tmp_path, patience=patience)
    assert not list(tmp_path.iterdir())


def test_without_a_connection_the_lab_says_so_and_learns_from_what_is_there(texts, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(corpora, "TINY_SHAKESPEARE_URL", f"http://127.0.0.1:{port}/x")
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setattr("transformer_lab.lab.text.texts.corpus_folders", lambda home: [])
    assert "not on this computer" in texts.missing("tiny_shakespeare")
    corpus, encoded, note = texts.fetched(Setup())
    assert corpus.name == "python_docs"
    assert "Python documentation instead" in note
    assert encoded.tokenizer.decode(encoded.training[:200]) == corpus.text[:200]


def test_a_named_folder_is_looked_in_first(tmp_path, texts, monkeypatch):
    named = tmp_path / "named"
    named.mkdir()
    (named / "mine.txt").write_text(STORY)
    monkeypatch.setenv("TRANSFORMER_LAB_DATA", str(named))
    assert texts.corpus("mine").text == STORY
    assert texts.titles()["mine"] == "mine.txt"
    (named / "mine.txt").write_text(STORY.upper())
    assert texts.corpus("mine").text == STORY.upper()  # changed files are read again


def test_every_text_file_is_on_offer_and_none_hides_another(texts, tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "data"
    first.mkdir()
    second.mkdir()
    monkeypatch.setenv("TRANSFORMER_LAB_DATA", str(first))
    files = {
        "mine": first / "mine.txt",
        "BOOK": first / "BOOK.TXT",
        "python_docs.txt": first / "python_docs.txt",  # its own name is a built-in text's
        "tiny_shakespeare.Txt": first / "tiny_shakespeare.Txt",
        "mine.txt": second / "mine.txt",
    }
    for name, path in files.items():
        path.write_text(f"{name}\n{STORY}")
    for name, path in files.items():
        assert texts.titles()[name] == path.name
        assert texts.corpus(name).text == f"{name}\n{STORY}"
    built_in = texts.corpus("python_docs")
    assert built_in.source.startswith("pydoc_data")
    assert texts.corpus(str(first / "python_docs.txt")).name == "python_docs.txt"
    monkeypatch.setenv("TRANSFORMER_LAB_DATA", str(second))  # named twice, offered once
    assert "mine.txt" not in texts.titles()


def test_one_file_that_is_no_text_spoils_neither_the_list_nor_the_page(texts, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gbk.txt").write_bytes("河水流过村子".encode("gbk") * 20)
    (tmp_path / "data" / corpora.TINY_SHAKESPEARE_FILE).write_text("spoiled")
    assert "not UTF-8" in texts.trouble("gbk")
    assert texts.at_hand("tiny_shakespeare") == "python_docs"
    with pytest.raises(CorpusError, match="damaged"):
        texts.facts(Setup())
    assert main(["data", "list", "--home", str(tmp_path), "--json"]) == 0
    told = {
        row["name"]: row["missing"]
        for row in map(json.loads, capsys.readouterr().out.split("\n")[:-1])
    }
    assert "is damaged" in told["tiny_shakespeare"]
    assert "not UTF-8" in told["gbk"]
    assert told["python_docs"] == ""


def test_a_text_of_the_library_gets_a_name_no_other_text_has(texts, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text(STORY)
    names = ["mine", "mine", "python_docs", "Tiny Shakespeare", "mine.txt"]
    entries = [
        texts.add(f"{number} {STORY}".encode(), name, "pasted") for number, name in enumerate(names)
    ]
    shown = [entry.name for entry in entries]
    assert shown == ["mine (2)", "mine (3)", "python_docs (2)", "Tiny Shakespeare (2)", "mine.txt"]
    assert texts.rename(entries[0], "mine (2)").name == "mine (2)"
    assert texts.rename(entries[0], TITLES["python_docs"]).name == "Python documentation (2)"
    assert texts.corpus("mine (3)").text == f"1 {STORY}"


def test_a_file_chosen_from_the_list_is_not_taken_for_a_text_of_that_name(texts, tmp_path):
    entry = texts.add(f"first {STORY}".encode(), "mine", "pasted")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text(STORY)
    assert texts.corpus("mine").text == STORY
    assert texts.corpus(entry.id).text == f"first {STORY}"


def test_a_missing_file_names_what_there_is(texts):
    with pytest.raises(CorpusError, match="There is no corpus 'nothing'"):
        texts.corpus("nothing")


@pytest.mark.parametrize("tokenizer", ["characters", "bpe", "bytes", "words"])
def test_tokens_come_from_the_cache_the_same(tmp_path, tokenizer):
    config = Setup().with_values({"data.corpus": "sorting", "data.tokenizer": tokenizer}).data
    first = Texts(tmp_path)
    made = first.encoded(config)
    first.close()
    second = Texts(tmp_path)
    steps = []
    found = second.encoded(config, steps.append)
    second.close()
    assert steps == []  # nothing was computed
    assert np.array_equal(found.training, made.training)
    assert np.array_equal(found.validation, made.validation)
    assert found.tokenizer.to_json() == made.tokenizer.to_json()
    assert found.validation_bytes == made.validation_bytes


def test_tokens_from_the_cache_can_be_used_like_any_others(tmp_path, recwarn):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "story.txt").write_text(STORY, encoding="utf-8")
    config = Setup().with_values({"data.corpus": "story"}).data
    for _ in range(2):  # made, then read
        texts = Texts(tmp_path)
        encoded = texts.encoded(config)
        for tokens in (encoded.training, encoded.validation):
            assert tokens.flags.writeable
            torch.from_numpy(tokens)  # it warns of what cannot be written to
        texts.close()
    assert not [warning for warning in recwarn if "writable" in str(warning.message)]


def test_the_cache_takes_and_gives_bytes_alone(tmp_path):
    cache = open_cache(tmp_path / "cache")
    with pytest.raises(TypeError):
        cache.set("key", ["a list would be pickled"])
    with pytest.raises(TypeError):
        cache.set(("a", "tuple"), b"x")
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0
    cache.set("bad", b"\x80\x04N.")
    with contextlib.closing(sqlite3.connect(tmp_path / "cache" / "cache.db")) as database, database:
        database.execute("UPDATE Cache SET mode = 4")  # as if it had been pickled
    with pytest.raises(ValueError, match="only bytes"):
        cache.get("bad")
    cache.close()


def test_the_split_holds_back_the_end():
    corpus = load_corpus("sorting", [])
    training, validation = parts(corpus, 0.2)
    assert training + validation == corpus.text
    assert len(validation) == pytest.approx(0.2 * corpus.characters, abs=1)
    config = Setup().with_values({"data.corpus": "sorting", "data.validation_share": 0.2}).data
    encoded = encode_corpus(corpus, config)
    assert encoded.tokenizer.decode(encoded.validation) == validation
    assert encoded.bytes_per_token == 1.0


def test_bits_per_byte_do_not_depend_on_the_cut():
    corpus = load_corpus("python_docs", [])
    lengths = {}
    for tokenizer in ("bytes", "bpe"):
        config = Setup().with_values({"data.tokenizer": tokenizer}).data
        encoded = encode_corpus(corpus, config)
        nats_per_byte = 1.7  # of a model that knows every byte equally well
        nats_per_token = nats_per_byte * encoded.bytes_per_token
        lengths[tokenizer] = bits_per_byte(nats_per_token, encoded.bytes_per_token)
    assert lengths["bytes"] == pytest.approx(lengths["bpe"])
    assert bits_per_byte(np.log(2), 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ({"model.sequence_length": 1000}, "model.sequence_length"),
        ({"data.corpus": "x"}, "data.corpus"),
    ],
)
def test_what_cannot_be_trained_on_is_reported_before(texts, tmp_path, setting, field):
    (tmp_path / "story.txt").write_text(STORY)
    setup = Setup().with_values({"data.corpus": str(tmp_path / "story.txt"), **setting})
    with pytest.raises(ConfigError) as caught:
        texts.facts(setup)
    assert caught.value.field == field


@pytest.mark.parametrize(("length", "way_out"), [(200, "choose a longer"), (1000, "at most 99,")])
def test_no_shorter_sequence_is_proposed_than_there_can_be(texts, tmp_path, length, way_out):
    (tmp_path / "short.txt").write_text("abcdefghij" * (length // 10))
    changes = {"data.corpus": str(tmp_path / "short.txt"), "data.validation_share": 0.1}
    changes |= {"data.validation_share": 0.03} if length == 200 else {}
    with pytest.raises(ConfigError, match=way_out):
        texts.facts(Setup().with_values(changes))


def test_overlap_counts_the_windows_that_occur_twice():
    assert overlap("abcdefgh", "xxabcdxx", window=4) == pytest.approx(1 / 5)
    assert overlap("abcd" * 100, "abcd" * 20) == 1.0
    assert overlap("a" * 100, "b" * 100) == 0.0
    assert overlap("short", "short") == 0.0


@pytest.mark.parametrize("name", TASKS)
def test_each_problem_of_a_task_has_its_right_answer(name):
    lines = task_text(name)
    half = len(lines) // 2
    problems = held_out(lines[:half], lines[half:])
    assert len(problems) == 100
    for problem in problems:
        asked, answer = problem.question[:-1], problem.answer
        if name == "copying":
            assert answer == asked
        elif name == "addition":
            assert int(answer) == sum(map(int, asked.split("+")))
        elif name == "sorting":
            assert answer == "".join(sorted(asked))
        else:
            closed = asked + answer
            for _ in range(len(closed)):
                closed = closed.replace("()", "").replace("[]", "").replace("{}", "")
            assert closed == ""
        assert f"\n{problem.question}{answer}\n" not in lines[:half]
