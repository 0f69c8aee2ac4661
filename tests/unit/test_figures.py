"""The numbers in the prose of the summary are those that their commands give."""

import re
from pathlib import Path

import pytest

from transformer_lab.experiments import figures, report
from transformer_lab.experiments.figures import FIGURES, filled, written

DOCS = Path(__file__).parents[2] / "docs"
NUMBER = r"[+-]?\d+(?:\.\d+)?"


def words_and_numbers(text):
    return re.split(NUMBER, text), [float(one) for one in re.findall(NUMBER, text)]


@pytest.mark.parametrize("name", FIGURES)
def test_a_number_in_the_prose_is_what_its_command_gives(name):
    stands = written((DOCS / report.SUMMARY).read_text(encoding="utf-8"), name)
    words, numbers = words_and_numbers(stands)
    again, found = words_and_numbers(FIGURES[name](DOCS / report.TABLES))
    assert words == again
    assert numbers
    assert numbers == pytest.approx(found, rel=0.01, abs=0.011)  # other computers round otherwise


def test_a_figure_is_filled_in_at_its_place_and_a_missing_place_is_told():
    text = "a <!-- figure: one -->old\nwords<!-- end --> b"
    assert written(text, "one") == "old words"
    assert filled(text, "one", "1 \\2") == "a <!-- figure: one -->1 \\2<!-- end --> b"
    with pytest.raises(ValueError, match="no place for the figure two"):
        written(text, "two")


def test_a_name_that_is_unknown_is_answered_with_those_there_are(tmp_path):
    said = []
    assert figures.main([str(tmp_path), "nothing"], said.append) == 2
    assert report.main([str(tmp_path), "nothing"], said.append) == 2
    assert said[0].startswith("There is no figure nothing: choose of paper_widths, ")
    assert said[1].startswith("There is no experiment nothing: choose of leak, race, ")
    assert not any(tmp_path.iterdir())


def test_every_difference_of_the_tables_stands_in_the_file_of_verdicts():
    results = (DOCS / report.RESULTS).read_text(encoding="utf-8")
    known = report.read_csv(DOCS / report.TABLES / report.VERDICTS)
    assert known
    for one in known:
        row = [value for key, value in one.items() if key != "experiment"]
        assert report.line(row) in results
    for one in report.read_csv(DOCS / report.TABLES / report.OLD_VERDICTS):
        old = [other for other in known if other["difference"] == one["difference"]]
        if old:
            assert len(old) == 1
            assert one["verdict"] in results
