"""The command line, as people and scripts use it."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest

from transformer_lab.cli import main, parser
from transformer_lab.cli.common import SAMPLING
from transformer_lab.cli.train import _Printer
from transformer_lab.generation import SampleConfig
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.metrics import MetricStream
from transformer_lab.lab.training.states import Lifecycle
from transformer_lab.recipes import setup_from
from transformer_lab.runs.database import RunWriter
from transformer_lab.runs.store import RunStore
from transformer_lab.settings import checked, settings_of
from transformer_lab.text.corpora import load_corpus
from transformer_lab.training import StepMetrics
from transformer_lab.ui.generate import layout as generate_layout
from waiting import PATIENCE, until

TINY = [
    "--corpus=python_docs",
    "--set=model.layers=1",
    "--set=model.heads=2",
    "--set=model.embedding_dim=16",
    "--set=model.sequence_length=16",
    "--set=train.batch_size=4",
    "--set=train.evaluate_every=10",
    "--set=train.evaluation_batches=1",
    "--set=train.threads=1",
]


def started(*arguments, **options):
    line = [sys.executable, "-m", "transformer_lab.cli", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, env=environment, **(pipes | options))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with one finished run."""
    home = tmp_path_factory.mktemp("home")
    assert main(["train", "--home", str(home), *TINY, "--steps=20"]) == 0
    return home


@pytest.fixture(scope="module")
def visited_form(tmp_path_factory):
    """The Generate tab as it opens."""
    lab = Lab(tmp_path_factory.mktemp("form"))
    yield str(generate_layout.layout(lab))
    lab.close()


def export(home, target, *more):
    return main(["export", "latest", "--home", str(home), "--out", str(target), *more])


def test_export_writes_through_links_and_devices(home, tmp_path, capsys):
    (tmp_path / "real.zip").write_bytes(b"before")
    (tmp_path / "link.zip").symlink_to("real.zip")
    os.link(tmp_path / "real.zip", tmp_path / "other.zip")
    (tmp_path / "null").symlink_to(os.devnull)
    for name in ("link.zip", "other.zip", "null"):
        assert export(home, tmp_path / name) == 0
        assert str(tmp_path / name) in "".join(capsys.readouterr())
    assert (tmp_path / "link.zip").is_symlink()
    assert zipfile.is_zipfile(tmp_path / "real.zip")
    assert (tmp_path / "other.zip").samefile(tmp_path / "real.zip")
    assert (tmp_path / "null").is_char_device()
    assert len(list(tmp_path.iterdir())) == 4


def test_export_to_standard_output_is_the_file_and_nothing_else(home):
    process = started("export", "latest", "--home", home, "--out", "/dev/stdout", text=False)
    data, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
    assert data.endswith(zipfile.ZipFile(io.BytesIO(data)).comment)


def test_export_names_the_file_a_person_asked_for(home, tmp_path, capsys):
    for target, why in ((tmp_path, "is a folder"), (tmp_path / "no" / "x.zip", "No such file")):
        assert export(home, target) == 2
        said = capsys.readouterr().err
        assert f"--out: {target} " in said
        assert why in said


def test_resume_prints_no_step_from_before_the_save(capsys):
    past = MetricStream([point(1), point(2)])
    run = SimpleNamespace(made=None, active=False, ended=False, stream=past)
    printer = _Printer(as_json=True)
    printer.show(run)
    run.made = SimpleNamespace(saved=SimpleNamespace(progress=SimpleNamespace(step=2)))
    run.stream.append(point(3))
    printer.show(run)
    assert [step["step"] for step in lines(capsys)] == [3]


def test_every_note_is_printed_once_also_when_the_run_ends_before_anyone_looks(capsys):
    run = Lifecycle()
    run.move("starting")
    run.move("running", note="The text has changed.")
    run.update(note="It uses one thread now.")
    run.move("finished")
    run.made = None
    printer = _Printer(as_json=False)
    printer.show(run)
    printer.show(run)
    assert capsys.readouterr().out.splitlines() == [
        "The text has changed.",
        "It uses one thread now.",
    ]


def point(step):
    return StepMetrics(step, 1.0, 0.1, 1.0, 1.0, 1.0)


def test_a_text_that_has_changed_is_reported_when_a_run_is_extended_and_refuses_to_resume(
    tmp_path, capsys, caplog
):
    text = tmp_path / "play.txt"
    text.write_text("The king is here. The queen is there.\n" * 100)
    begun = ["train", "--home", str(tmp_path / "home"), *TINY[1:], f"--corpus={text}"]
    assert main([*begun, "--steps=3"]) == 0
    run = RunStore(tmp_path / "home").open("latest")
    writer = RunWriter(run.folder)
    writer.state("stopped", 3)
    writer.close()
    text.write_text("The queen is here. The king is there.\n" * 100)
    capsys.readouterr()
    assert main(["resume", run.id, "--home", str(tmp_path / "home")]) == 2
    assert "no longer the text this run began with" in capsys.readouterr().err
    assert "cannot be written" not in caplog.text
    assert main(["extend", run.id, "--steps=1", "--home", str(tmp_path / "home")]) == 0
    assert f"has changed since {run.id} learned from it" in capsys.readouterr().out


def test_a_first_model_is_trained_where_there_is_no_run_yet_and_only_there(tmp_path, capsys):
    line = ["first-model", "--home", str(tmp_path), *TINY, "--steps=4"]
    assert main(line) == 0
    assert main(line) == 0
    assert "There are runs already" in capsys.readouterr().out
    (first,) = RunStore(tmp_path).list()
    assert (first.name, first.state, first.step) == ("First model", "finished", 4)


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_train_prints_a_json_object_a_line_and_a_summary(tmp_path, capsys):
    assert main(["train", "--home", str(tmp_path), *TINY, "--steps=20", "--json"]) == 0
    *steps, summary = lines(capsys)
    assert [step["step"] for step in steps] == list(range(1, 21))
    wanted = {"step", "train_loss", "val_loss", "learning_rate", "tokens_per_second", "seconds"}
    assert wanted <= steps[0].keys()
    assert [step["step"] for step in steps if step["val_loss"] is not None] == [10, 20]
    assert summary["summary"] is True
    assert (summary["state"], summary["step"], summary["run"]) == ("finished", 20, "quick-start-1")
    assert summary["val_loss"] == steps[-1]["val_loss"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--set=model.heads=3"], "model.heads: Attention Heads is 3"),
        (["train", "--set=model.haeds=3"], "did you mean model.heads?"),
        (["train", "--set=model.heads"], "has no value"),
        (["train", "--steps=many"], "train.steps: Steps is 'many'"),
        (["train", "--recipe=nothing"], "There is no recipe 'nothing': choose quick_start"),
        (["train", "--corpus=/nowhere.txt"], "There is no corpus"),
        (["train", "--set=train.learning_rate=0,001"], "Learning Rate is '0,001': write 0.001."),
        (["train", "--steps=1.000"], "Steps is '1.000': write 1000 or 1."),
        (["generate", "--temperature=hot"], "sample.temperature: Temperature is 'hot'"),
        (["generate", "--temperature=0,5"], "Temperature is '0,5': write 0.5."),
        (["generate", "--temperature=1e-40"], "choose 0, which always takes"),
        (["data", "tokenize", "sorting", "--vocabulary=2.048"], "write 2048."),
        (["data", "show"], "Say which text"),
        (["data", "show", "nothing"], "There is no corpus"),
        (["data", "tokenize", "sorting", "--tokenizer=sounds"], "choose one of characters"),
        (["serve", "--port=99999"], "choose one from 1 to 65,535"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, said):
    assert main([arguments[0], "--home", str(tmp_path), *arguments[1:]]) == 2
    out, error = capsys.readouterr()
    assert said in error
    assert error.count("\n") == 1
    assert out == ""
    assert not list(tmp_path.glob("runs/*"))


def test_a_home_that_cannot_be_written_to_is_exit_code_2(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["train", "--home", str(tmp_path / "file"), *TINY]) == 2
    assert "name another one with --home" in capsys.readouterr().err


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_run(tmp_path, sent):
    process = started("train", "--home", tmp_path, *TINY, "--steps=1000000", "--json")
    for line in process.stdout:
        if json.loads(line)["step"] > 5:
            break
    process.send_signal(sent)
    out, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    summary = json.loads(out.splitlines()[-1])
    assert (summary["state"], summary["reason"]) == ("stopped", "Interrupted.")
    run = RunStore(tmp_path).open("latest")
    assert run.checkpoints()[-1].name == f"step-{summary['step']:08d}"
    assert len(run.since()[0]) == summary["step"]
    assert "Traceback" not in error


def test_generate_writes_with_the_latest_run(home, capsys):
    arguments = ["generate", "--home", str(home), "--prompt=The ", "--length=30", "--seed=5"]
    texts = []
    for _ in range(2):
        assert main(arguments) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert texts[0].startswith("The ")
    assert main([*arguments, "--json"]) == 0
    (answer,) = lines(capsys)
    assert answer["text"] == texts[0].removeprefix("The ").removesuffix("\n")
    assert (answer["run"], answer["step"]) == ("quick-start-1", 20)


def test_a_prompt_may_begin_with_a_dash_and_every_way_of_drawing_has_its_option(home, capsys):
    options = ["--home", str(home), "--length=5", "--top-k", "9", "--top-p", "0.5", "--json"]
    for prompt in (["--prompt", "- a"], ["--prompt=--a"], ["--prompt", "-x"], ["--prom", "-1e3"]):
        assert main(["generate", *options, *prompt]) == 0
        (answer,) = lines(capsys)
        assert answer["sample"]["prompt"] == prompt[-1].removeprefix("--prompt=")
        assert (answer["sample"]["top_k"], answer["sample"]["top_p"]) == (9, 0.5)
    with pytest.raises(SystemExit):  # an option of the command is not taken for a prompt
        main(["generate", "--home", str(home), "--prompt", "--json"])
    assert "expected one argument" in capsys.readouterr().err


def test_every_sampling_setting_is_on_the_page_the_command_line_and_in_recipes(visited_form):
    knobs = settings_of(SampleConfig)
    assert tuple(knob.name for knob in knobs) == SAMPLING
    options = [f"--{knob.name.replace('_', '-')}={knob.default}" for knob in knobs]
    given = vars(parser().parse_args(["generate", *options]))
    for knob in knobs:
        assert setup_from({"sample": {knob.name: knob.default}})
        assert checked(knob, given[knob.name]) == knob.default
        assert f"'name': '{knob.name}'" in visited_form


def test_without_a_prompt_a_model_begins_as_its_text_does(home, capsys):
    assert main(["generate", "--home", str(home), "--length=3", "--json"]) == 0
    (answer,) = lines(capsys)
    assert answer["sample"]["prompt"] != "ROMEO:"
    assert answer["sample"]["prompt"] in load_corpus("python_docs", []).text


def test_unknown_characters_name_the_way_out(home, capsys):
    arguments = ["generate", "--home", str(home), "--prompt=\u6771The ", "--length=3"]
    assert main(arguments) == 2
    assert "Use --drop-unknown" in capsys.readouterr().err
    assert main([*arguments, "--drop-unknown"]) == 0
    assert capsys.readouterr().out.startswith("The ")


def test_generate_without_a_run_says_what_to_do(tmp_path, capsys):
    assert main(["generate", "--home", str(tmp_path)]) == 1
    assert "train one first" in capsys.readouterr().err


def test_runs_are_listed(home, capsys):
    assert main(["runs", "--home", str(home)]) == 0
    assert "quick-start-1" in capsys.readouterr().out
    assert main(["runs", "--home", str(home), "--json"]) == 0
    (run,) = lines(capsys)
    assert (run["state"], run["step"], run["corpus"]) == ("finished", 20, "Python documentation")
    assert run["bits_per_byte"] > 0


def test_a_text_is_added_shown_and_tokenized(tmp_path, capsys):
    (tmp_path / "book.txt").write_text(
        "It was the best of times, it was the worst of times.\n" * 30
    )
    options = ["--home", str(tmp_path / "home"), "--json"]
    for _ in range(2):
        assert main(["data", *options, "add", str(tmp_path / "book.txt"), "--name=Tale"]) == 0
    one, other = lines(capsys)
    assert one == other
    assert main(["data", *options, "list"]) == 0
    assert "Tale" in [row["title"] for row in lines(capsys)]
    assert main(["data", *options, "show", "Tale"]) == 0
    assert lines(capsys)[0]["characters"] == 53 * 30
    assert main(["data", *options, "tokenize", "Tale", "--tokenizer=bpe", "--vocabulary=300"]) == 0
    (facts,) = lines(capsys)
    assert facts["comes back from its tokens"] == "yes"
    assert facts["characters per token"] > 1


def test_the_words_of_a_command_come_in_any_order(home, tmp_path, capsys):
    book, here = tmp_path / "-x.txt", ["--home", str(home)]
    for number, given in enumerate([
        ["add", "--name", "My book 0", *here, str(book)],
        ["--name", "My book 1", "add", str(book), *here],
        ["add", str(book), *here, "--name", "My book 2"],
        [*here, "--name", "- My book 3", "--", "add", str(book)],
    ]):  # fmt: skip
        book.write_text(f"It was the best of times, it was time {number}.\n" * 30)
        assert main(["data", *given]) == 0
        assert f"My book {number}" in capsys.readouterr().out
    table = ["--out", str(tmp_path / "x.csv"), "latest", "--as", "metrics.csv"]
    assert main(["export", *table, *here]) == 0


def test_a_text_in_another_encoding_is_added_by_naming_it(tmp_path, capsys):
    story = "Молодой мельник пошёл к реке и насчитал семь лодок.\n" * 5
    (tmp_path / "book.txt").write_bytes(story.encode("cp1251"))
    add = ["data", "add", str(tmp_path / "book.txt"), "--home", str(tmp_path / "home")]
    assert main(add) == 2
    *offered, said = capsys.readouterr().err.splitlines()
    assert offered[0].startswith("--encoding cp1251 ")
    assert "Молодой" in offered[0]
    assert "book.txt is not UTF-8 text" in said
    assert main([*add, "--encoding=nothing"]) == 2
    assert "There is no encoding 'nothing'" in capsys.readouterr().err
    assert main([*add, "--encoding=cp1251", "--json"]) == 0
    (row,) = lines(capsys)
    assert (row["characters"], row["note"]) == (len(story), "It was read as cp1251.")


def test_a_taken_port_is_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = started("serve", "--home", tmp_path, "--port", port)
        out, error = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (2, "")
    assert f"127.0.0.1:{port} cannot be used" in error
    assert "Traceback" not in error


def test_ending_the_server_saves_what_trains(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (
        "import sys, threading, time\n"
        "from transformer_lab import cli\n"
        "from transformer_lab.lab import lab as module\n"
        "from transformer_lab.recipes import find_recipe\n"
        "made = module.Lab.__init__\n"
        "def init(self, home):\n"
        "    made(self, home)\n"
        "    changes = {item.split('=', 2)[1]: item.split('=', 2)[2] for item in sys.argv[1:]}\n"
        "    self.trainings.start(find_recipe('quick_start').setup.with_values(changes))\n"
        "module.Lab.__init__ = init\n"
        f"sys.exit(cli.main(['serve', '--port', '{port}', '--home', r'{tmp_path}']))\n"
    )
    settings = [item for item in TINY if item.startswith("--set")]
    settings += ["--set=data.corpus=python_docs", "--set=train.steps=1000000"]
    process = subprocess.Popen([sys.executable, "-c", code, *settings], stderr=subprocess.PIPE)
    until(lambda: (runs := RunStore(tmp_path).list()) and runs[0].step)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE)
    assert b"Traceback" not in error
    run = RunStore(tmp_path).open("latest")
    assert run.state()[0] == "interrupted"
    assert run.checkpoints()


def test_doctor_says_what_is_here(tmp_path, capsys):
    code = main(["doctor", "--home", str(tmp_path)])
    out = capsys.readouterr().out
    for word in ("torch", "Device", "Threads", "Memory", "Home", "Disk"):
        assert word in out
    assert code == ("Nothing is missing." not in out)


def test_doctor_runs_when_a_package_is_missing(tmp_path):
    code = (
        "import sys\nsys.modules['psutil'] = None\n"
        "from transformer_lab.cli import main\n"
        f"sys.exit(main(['doctor', '--home', r'{tmp_path}']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "psutil cannot be imported" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_run_is_exported_and_brought_into_another_home(home, tmp_path, capsys):
    target = tmp_path / "out.zip"
    options = ["--home", str(home)]
    assert main(["export", *options, "latest", "--out", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    other = ["--home", str(tmp_path / "other")]
    assert main(["import", *other, str(target)]) == 0
    name = capsys.readouterr().out.strip()
    assert main(["generate", *other, "--run", name, "--prompt=The ", "--length=5"]) == 0
    capsys.readouterr()
    target.write_bytes(b"no zip")
    assert main(["import", *other, str(target)]) == 1
    assert main(["import", *other, str(tmp_path / "missing.zip")]) == 2
    assert main(["export", *options, "no-such-run"]) == 1
    assert main(["export", *options, "latest", "--out", str(tmp_path / "no" / "x.zip")]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert list(tmp_path.glob("*.part")) == []


def interrupted(*arguments):
    """The lines of a training that got Ctrl-C after a few of its steps."""
    process = started(*arguments, "--json")
    given = []
    for line in process.stdout:
        given.append(json.loads(line))
        if len(given) == 5:
            process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    return given


def test_a_stopped_run_is_resumed_and_extended_from_the_terminal(tmp_path, capsys):
    home = ["--home", str(tmp_path)]
    *_, first = interrupted("train", *home, *TINY, "--steps=1000000")
    *steps, second = interrupted("resume", *home)
    assert (first["state"], second["state"]) == ("stopped", "stopped")
    assert steps[0]["step"] == first["step"] + 1
    assert main(["extend", *home, "latest", "--steps", "5", "--json"]) == 0
    *steps, summary = lines(capsys)
    assert [step["step"] - second["step"] for step in steps] == [1, 2, 3, 4, 5]
    assert summary["run"] == "quick-start-1-more-1"
    assert main(["resume", *home, "latest"]) == 1
    assert "train it for more steps" in capsys.readouterr().err
