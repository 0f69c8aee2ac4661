"""Text becomes tokens and comes back."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_lab.settings import ConfigError
from transformer_lab.text import bpe
from transformer_lab.text.bpe import BytePairTokenizer
from transformer_lab.text.pieces import chunks
from transformer_lab.text.split import encode
from transformer_lab.text.tokenizers import (
    TOKENIZERS,
    UnknownTextError,
    WordTokenizer,
    tokenizer_from_json,
)

LEARNED_FROM = (
    "To be, or not to be: that is the question.\nWhether 'tis nobler — naïve café 東京タワー 🙂 "
    "in the mind to suffer the slings and arrows of outrageous fortune, 1234 5678.\n\n" * 20
)
EVERYTHING = {"bpe", "gpt2", "bytes"}  # these know every text
MADE = {kind: learned.learn(LEARNED_FROM, 400) for kind, learned in TOKENIZERS.items()}
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize("kind", sorted(EVERYTHING))
@given(text=ANY_TEXT)
def test_every_text_comes_back(kind, text):
    assert MADE[kind].decode(MADE[kind].encode(text)) == text
    assert MADE[kind].unknown(text) == []


@pytest.mark.parametrize("kind", ["characters", "words"])
@given(text=st.text(st.sampled_from(LEARNED_FROM)))
def test_what_is_known_comes_back_and_the_rest_is_named(kind, text):
    tokenizer = MADE[kind]
    known = tokenizer.known(text)
    assert tokenizer.unknown(known) == []
    assert tokenizer.decode(tokenizer.encode(known)) == known
    if not tokenizer.unknown(text):
        assert known == text


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_corpus_itself_comes_back(kind):
    tokenizer = MADE[kind]
    tokens = tokenizer.encode(LEARNED_FROM)
    assert tokens.dtype == np.int32
    assert tokens.min() >= 0
    assert tokens.max() < tokenizer.vocabulary_size
    assert tokenizer.decode(tokens) == LEARNED_FROM
    assert b"".join(tokenizer.token_bytes(int(t)) for t in tokens) == LEARNED_FROM.encode()


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_tokenizer_can_be_made_again_from_plain_values(kind):
    again = tokenizer_from_json(MADE[kind].to_json())
    assert again.vocabulary_size == MADE[kind].vocabulary_size
    assert np.array_equal(again.encode(LEARNED_FROM), MADE[kind].encode(LEARNED_FROM))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_text_in_pieces_has_the_tokens_of_the_whole(kind, monkeypatch):
    monkeypatch.setattr(chunks, "__defaults__", (97,))
    assert len(list(chunks(LEARNED_FROM))) > 10
    whole = MADE[kind].encode(LEARNED_FROM)
    assert np.array_equal(encode(MADE[kind], LEARNED_FROM), whole)


@given(text=st.text(), size=st.integers(1, 9))
def test_pieces_make_up_the_text(text, size):
    assert "".join(chunks(text, size)) == text


def test_a_lone_half_of_a_surrogate_pair_breaks_nothing():
    for kind in sorted(EVERYTHING):
        assert MADE[kind].decode(MADE[kind].encode("a\ud800b")) == "a?b"


def test_characters_that_are_added_come_after_those_that_were_known():
    before = MADE["characters"]
    after = before.with_characters("straße \x07")
    assert after.characters == [*before.characters, "\x07", "ß"]
    assert (after.encode(LEARNED_FROM) == before.encode(LEARNED_FROM)).all()
    assert after.decode(after.encode("straße\x07")) == "straße\x07"
    assert tokenizer_from_json(after.to_json()).characters == after.characters
    with pytest.raises(UnknownTextError, match="Ω"):
        after.encode("Ω")


def test_unknown_characters_are_named():
    with pytest.raises(UnknownTextError, match=r"'ß' \(U\+00DF\)") as caught:
        MADE["characters"].encode("straße\x07")
    assert caught.value.pieces == ["ß", "\x07"]
    assert "U+0007" in str(caught.value)


def test_unknown_words_are_lost_and_named():
    words = MADE["words"]
    assert words.unknown("to be a zebra") == ["a", "zebra"]
    assert words.decode(words.encode("to be a zebra")) == "to be <unknown> <unknown>"


def test_a_small_vocabulary_keeps_the_frequent_words():
    words = WordTokenizer.learn("a a a b b c", 4)
    assert words.vocabulary_size == 4
    assert words.unknown("a b c") == ["c"]


def test_byte_pairs_join_what_stands_together_most_often():
    learned = BytePairTokenizer.learn("low low low lower lowest " * 10, 300)
    pieces = [learned.token_bytes(token) for token in range(256, learned.vocabulary_size)]
    assert b"low" in pieces
    assert len(learned.encode("low low")) == 2


def test_the_merges_rebuild_every_token_from_older_ones():
    learned = MADE["bpe"]
    for merge in learned.merges():
        assert max(merge.left, merge.right) < merge.token
        joined = learned.token_bytes(merge.left) + learned.token_bytes(merge.right)
        assert joined == learned.token_bytes(merge.token)


@pytest.mark.parametrize("kind", ["bpe", "gpt2"])
@pytest.mark.parametrize("text", ["the question", "naïve 東京 🙂", "  two  spaces\n", ""])
def test_replaying_the_merges_ends_at_the_tokens(kind, text):
    steps = list(MADE[kind].steps(text))
    assert steps[0] == [bytes([byte]) for byte in text.encode()]
    assert steps[-1] == [MADE[kind].token_bytes(int(t)) for t in MADE[kind].encode(text)]
    assert all(len(a) > len(b) for a, b in itertools.pairwise(steps))


def test_gpt2_has_the_published_tokens():
    assert MADE["gpt2"].vocabulary_size == 50_256
    assert MADE["gpt2"].encode("Hello, world!").tolist() == [15496, 11, 995, 0]


def test_gpt2_files_that_were_changed_are_refused(monkeypatch):
    bpe.gpt2_ranks.cache_clear()
    wrong = {name: hashlib.sha256(b"").hexdigest() for name in bpe.GPT2_FILES}
    monkeypatch.setattr(bpe, "GPT2_FILES", wrong)
    with pytest.raises(ConfigError, match="not GPT-2's own"):
        TOKENIZERS["gpt2"].learn("", 0)
    bpe.gpt2_ranks.cache_clear()
