"""The Data tab and uploads, without a browser."""

import json
from urllib.parse import quote

import pytest

from transformer_lab.text import corpora

STORY = "Once upon a time there was a small model that learned to read <b>books</b>.\n" * 40
BINARY = "application/octet-stream"


def upload(page, data, name, **options):
    options = {"content_type": BINARY} | options
    return page.client.post(f"/upload?name={quote(name)}", data=data, **options)


def kept(lab):
    return [path for path in lab.home.rglob("*") if path.is_file() and "corpora" in path.parts]


def test_an_upload_is_kept_under_its_hash_and_can_be_chosen(page, lab):
    answer = upload(page, STORY.encode(), "my story.txt")
    assert answer.status_code == 200
    page.values["uploaded", "data"] = answer.get_json()
    page.fire("text-message.children", "uploaded.data")
    entry = lab.texts.library.list()[0]
    assert page.get("text", "value") == entry.id == answer.get_json()["id"]
    assert {"value": entry.id, "label": "my story.txt"} in page.get("text", "options")
    again = upload(page, STORY.encode(), "again.txt").get_json()
    assert again == {"id": entry.id, "name": "my story.txt"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a text file"),
        (b"\xff\xfe\xfa" * 51, "do not exist"),
        ("é".encode("latin-1") * 100, "not UTF-8"),
        (b"short", "at least 64"),
    ],
)
def test_what_is_no_text_is_refused_and_leaves_nothing(page, lab, data, why):
    answer = upload(page, data, "x.txt")
    assert answer.status_code == 400
    assert why in answer.get_json()["error"]
    assert kept(lab) == []
    page.values["uploaded", "data"] = answer.get_json()
    page.fire("text-message.children", "uploaded.data")
    assert why in page.get("text-message", "children")


CHINESE = "河水流过村子，老人坐在树下数船。一只，两只，三只，没有第四只。\n" * 20  # noqa: RUF001


def test_an_upload_in_another_encoding_is_asked_about_and_sent_again(page, lab):
    answer = upload(page, CHINESE.encode("gbk"), "x.txt")
    assert answer.status_code == 400
    page.values["uploaded", "data"] = answer.get_json()
    page.fire("text-message.children", "uploaded.data")
    assert "not UTF-8" in page.get("text-message", "children")
    assert page.get("encodings", "hidden") is False
    first = page.get("encoding", "options")[0]
    assert first["value"] == page.get("encoding", "value") == "gb18030"
    assert "河水流过村子" in json.dumps(first, ensure_ascii=False)
    assert page.get("unread", "data") == "upload"
    again = page.client.post(
        "/upload?name=x.txt&encoding=gb18030", data=CHINESE.encode("gbk"), content_type=BINARY
    )
    page.values["uploaded", "data"] = again.get_json()
    page.fire("text-message.children", "uploaded.data")
    said = json.dumps(page.get("text-message", "children"))
    assert "x.txt was added. It was read as gb18030." in said
    assert page.get("encodings", "hidden") is True
    assert lab.texts.corpus(page.get("text", "value")).text == CHINESE
    refused = upload(page, CHINESE.encode("gbk"), "x.txt&encoding=nothing")
    assert refused.status_code == 400


@pytest.mark.parametrize("sent", [7, [], "x", {"encodings": 7}, {"encodings": [7, {"label": 1}]}])
def test_an_answer_that_no_upload_gives_is_refused(page, sent):
    page.values["uploaded", "data"] = sent
    answer = page.post(page.body("text-message.children", "uploaded.data"))
    assert answer.status_code == 400
    assert "uploaded" in answer.get_json()["error"]


def test_a_file_in_another_encoding_is_asked_about_and_read_so(page, lab, tmp_path):
    (tmp_path / "book.txt").write_bytes(CHINESE.replace("\n", "\r").encode("big5", "replace"))
    page.values["path", "value"] = str(tmp_path / "book.txt")
    page.fire("text-message.children", "add-path.n_clicks")
    assert page.get("encodings", "hidden") is False
    page.values |= {("path", "value"): "changed since", ("encoding", "value"): "big5"}
    page.fire("text-message.children", "read-as.n_clicks")
    said = json.dumps(page.get("text-message", "children"))
    assert "It was read as big5. Its line ends (CR) were made plain newlines." in said
    page.values["tabs", "active_tab"] = "Data"
    page.fire("text-facts.children", "text.value")
    assert "read as big5" in json.dumps(page.get("text-facts", "children"))


def test_a_missing_text_is_downloaded_as_a_job(page, lab, until, monkeypatch):
    monkeypatch.setattr(corpora, "TINY_SHAKESPEARE_URL", "http://127.0.0.1:9/x")
    monkeypatch.setattr(corpora, "TINY_SHAKESPEARE_FILE", "not-here.txt")
    page.values |= {("text", "value"): "tiny_shakespeare", ("tabs", "active_tab"): "Data"}
    page.fire("text-facts.children", "text.value")
    assert "not on this computer yet" in page.get("text-problem", "children")
    assert page.get("download", "hidden") is False
    assert page.get("download", "children") == "Download it (1.1 MB)"
    page.fire("fetch.data", "download.n_clicks")
    assert page.get("fetch-tick", "disabled") is False

    def over():
        page.react("fetch-tick.n_intervals")
        return page.get("fetch-tick", "disabled")

    until(over)
    assert "could not be downloaded" in page.get("text-message", "children")
    assert page.get("download", "disabled") is False


def test_sixty_megabytes_are_refused_and_leave_nothing(page, lab):
    answer = upload(page, b"x" * 60_000_000, "big.txt")
    assert answer.status_code == 400
    assert "50 MB" in answer.get_json()["error"]
    assert upload(page, b"x" * 100_000_100, "huge.txt").status_code == 413
    assert kept(lab) == []


@pytest.mark.parametrize(
    "name", ["../../evil.txt", "..\\evil.txt", "a\0b.txt", "/etc/passwd", ".."]
)
def test_a_name_that_leads_somewhere_is_refused(page, lab, name):
    answer = upload(page, STORY.encode(), name)
    assert answer.status_code == 400
    assert "without a path" in answer.get_json()["error"]
    assert kept(lab) == []


@pytest.mark.parametrize("name", ["", "%2e%2e%2fevil.txt", "con", "<b>x"])
def test_no_name_leads_anywhere(page, lab, name):
    assert upload(page, STORY.encode(), name).status_code == 200
    folder = lab.home / "corpora" / lab.texts.library.list()[0].sha256
    assert sorted(kept(lab)) == [folder / "about.json", folder / "text.txt"]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "multipart/form-data"}, 415),
        ({"headers": {"Origin": "http://evil.example"}}, 403),
        ({"headers": {"Host": "evil.example"}}, 403),
    ],
)
def test_another_site_cannot_upload(page, lab, options, status):
    assert upload(page, STORY.encode(), "x.txt", **options).status_code == status
    assert kept(lab) == []


def test_a_path_is_read_and_a_bad_one_is_answered(page, lab, tmp_path):
    (tmp_path / "book.txt").write_text(STORY)
    for path, said in (
        (str(tmp_path / "book.txt"), "book.txt was added"),
        ("/nowhere", "There is no"),
        ("", "Type the path"),
    ):
        page.values["path", "value"] = path
        page.fire("text-message.children", "add-path.n_clicks")
        assert said in json.dumps(page.get("text-message", "children"))


def pasted(page, text=STORY, name="pasted"):
    path = f"/upload?source=pasted&name={quote(name)}"
    answer = page.client.post(path, data=text.encode(), content_type=BINARY)
    assert answer.status_code == 200
    page.values["uploaded", "data"] = answer.get_json()
    page.fire("text-message.children", "uploaded.data")


def test_a_pasted_text_can_be_renamed_and_deleted(page, lab):
    pasted(page)
    page.values["new-name", "value"] = "<i>renamed</i>/a tale"
    page.fire("text-message.children", "rename.n_clicks")
    assert lab.texts.library.list()[0].name == "a tale"
    page.fire("text-message.children", "delete.n_clicks")
    assert lab.texts.library.list() == []
    page.values["text", "value"] = "python_docs"
    page.fire("text-message.children", "delete.n_clicks")
    assert "you added yourself" in page.get("text-message", "children")


def test_a_name_that_is_typed_outlasts_another_look_at_the_same_text(page):
    pasted(page)
    page.values["tabs", "active_tab"] = "Data"
    page.fire("text-facts.children", "text.value")
    page.values["new-name", "value"] = "My words"
    for again in ("text.options", "text-tokenizer.value", "tabs.active_tab"):
        page.fire("text-facts.children", again)
    assert page.get("new-name", "value") == "My words"
    page.values["text", "value"] = "python_docs"
    page.fire("text-facts.children", "text.value")
    assert page.get("new-name", "value") == ""


def studied(page, until, **choices):
    page.values["tabs", "active_tab"] = "Data"
    for name, value in choices.items():
        page.values[f"text-{name}" if name != "text" else name, "value"] = value
    page.fire("text-facts.children", "text.value")

    def done():
        page.fire("study-state.children", "study-tick.n_intervals")
        return page.get("studied", "data")

    until(done)
    page.fire("tokens.children", "studied.data")


@pytest.mark.parametrize("tokenizer", ["characters", "bpe", "gpt2", "bytes", "words"])
def test_a_text_is_studied_under_every_tokenizer(page, until, tokenizer):
    pasted(page, STORY + "Ein Café in 東京 🙂.\n")
    studied(page, until, tokenizer=tokenizer)
    page.values["sentence", "value"] = "a small 東京 🙂 zebra"
    page.fire("tokens.children", "sentence.value")
    assert "tokens of" in json.dumps(page.get("study-state", "children"))
    assert "come back from their tokens" in page.get("verified", "children") or tokenizer == "words"
    assert len(page.get("costs", "children")["props"]["children"][1]["props"]["children"]) == 5
    assert page.get("tokens", "children")
    assert page.get("merges", "hidden") is (tokenizer not in ("bpe", "gpt2"))
    assert "Preview" not in json.dumps(page.get("text-preview", "children"))
    assert page.get("text-preview", "children").startswith(STORY[:100])


def test_merges_are_replayed_from_bytes_to_tokens(page, until):
    pasted(page)
    studied(page, until, tokenizer="bpe")
    page.values["sentence", "value"] = "a small model"
    page.fire("tokens.children", "sentence.value")
    said = []
    for step in (0, page.get("merge", "max")):
        page.values["merge", "value"] = step
        page.fire("merged.children", "merge.value")
        said.append(page.get("merged", "children")[0]["props"]["children"])
    assert said[0].endswith("single bytes")
    assert "the last made" in said[1]


def test_repeated_text_is_warned_of(page, until):
    pasted(page)
    studied(page, until, tokenizer="characters")
    assert "validation will look better than it is" in json.dumps(
        page.get("study-state", "children")
    )


def test_a_bad_vocabulary_is_answered(page):
    page.values |= {("tabs", "active_tab"): "Data", ("text-vocabulary", "value"): "12"}
    page.values["text", "value"] = "python_docs"
    page.fire("text-facts.children", "text-vocabulary.value")
    assert "300 to 16,384" in page.get("text-problem", "children")


def test_the_text_goes_over_to_the_train_form(page, lab, until):
    pasted(page)
    page.values["text-tokenizer", "value"] = "bytes"
    page.fire("tabs.active_tab", "train-on.n_clicks")
    assert page.get("tabs", "active_tab") == "Train"
    page.fire("plan.data", "train-on.n_clicks")
    page.click("start")
    until(lambda: lab.trainings.current.ended)
    run = lab.runs.open(lab.trainings.current.status.run_id)
    assert run.manifest["corpus"]["title"] == "pasted"
    assert run.manifest["tokenizer"] == {"kind": "bytes"}


def test_no_file_is_read_by_its_path_while_others_may_visit(page, lab, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("root:x:0:0: what only this computer should know\n" * 20, encoding="utf-8")
    lab.texts.paths_allowed = False
    page.values["path", "value"] = str(secret)
    page.fire("text-message.children", "add-path.n_clicks")
    assert "--allow-paths" in page.text("text-message")
    page.values |= {("unread", "data"): str(secret), ("encoding", "value"): "cp1252"}
    page.fire("text-message.children", "read-as.n_clicks")
    assert "--allow-paths" in page.text("text-message")
    page.values["text", "value"] = str(secret)  # which no page offers, but anyone can send
    page.values["tabs", "active_tab"] = "Data"
    page.fire("text-preview.children", "text.value")
    assert "--allow-paths" in page.text("text-problem")
    assert "root:" not in page.text("text-preview")
    page.set({"data.corpus": str(secret)})
    page.click("start")
    assert lab.trainings.current is None
    assert kept(lab) == []
    lab.texts.paths_allowed = True
    page.fire("text-message.children", "add-path.n_clicks")
    assert "was added" in page.text("text-message")
