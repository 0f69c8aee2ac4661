"""The glossary feeds the page's help and the documentation from one file."""

from transformer_lab import glossary
from transformer_lab.recipes import SETTINGS
from transformer_lab.ui import form


def test_the_document_is_what_the_file_says():
    assert glossary.DOCUMENT.read_text(encoding="utf-8") == glossary.as_markdown()


def test_each_term_is_defined_once_in_one_sentence_that_is_short_enough_for_help():
    found = glossary.terms().values()
    assert len({each.term.lower() for each in found}) == len(found) > 40
    for each in found:
        assert each.meaning.endswith(".")
        assert len(each.meaning) <= 160, each.key


def test_terms_stand_in_the_help_of_the_settings_that_they_name():
    named = [key for each in glossary.terms().values() for key in each.settings]
    assert {*named} <= {*SETTINGS}
    assert "scores the next token" in str(form.control(SETTINGS["model.tied_head"], False))
