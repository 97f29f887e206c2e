"""BM25 over the passages of a file, and the file."""

from __future__ import annotations

import math

import pytest

from router_r1.errors import ConfigError

pytest.importorskip("bm25s")

from router_r1.sim.server.retrieval import Bm25, read_passages, world_passages

TEXTS = ["Rome is in Italy", "Paris is in France", "Paris, Paris and Rome"]


def test_scores_are_those_that_lucenes_formula_gives_by_hand():
    # "paris" is in 2 of 3 texts, all 4 words long: idf = ln(1 + 1.5 / 2.5), length discount 1.
    idf = math.log(1.6)
    once, twice = idf * 1 / (1 + 0.9), idf * 2 / (2 + 0.9)
    assert Bm25(TEXTS).best("Paris?", 3) == [(2, pytest.approx(twice)), (1, pytest.approx(once))]


def test_long_passages_are_discounted():
    # lengths 1 and 3, mean 2: discounts 0.9 (0.6 + 0.4 / 2) and 0.9 (0.6 + 0.4 * 1.5)
    idf = math.log(1 + 0.5 / 2.5)
    by_hand = [idf / (1 + 0.9 * (0.6 + 0.4 * length / 2)) for length in (1, 3)]
    found = Bm25(["paris", "paris by night"]).best("paris", 2)
    assert found == [(0, pytest.approx(by_hand[0])), (1, pytest.approx(by_hand[1]))]


def test_what_shares_no_word_is_not_found():
    index = Bm25(TEXTS)
    assert [row for row, _ in index.best("Where is Italy", 1)] == [0]
    assert index.best("Berlin", 3) == []
    assert index.best("", 3) == []


def test_a_corpus_is_read_as_flashrag_writes_it(tmp_path):
    file = tmp_path / "corpus.jsonl"
    file.write_text('{"id": 7, "contents": "\\"Rome\\"\\nA city."}\n{"contents": "Paris"}\n')
    assert [(p.id, p.contents) for p in read_passages(file)] == [("7", '"Rome"\nA city.'), ("1", "Paris")]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"contents": "a"}\n{"text": "b"}\n', "corpus.jsonl:2: contents: must be the text"),
        ('{"contents": ""}\n', "corpus.jsonl:1: contents: must be the text"),
        ("a passage\n", "corpus.jsonl:1: contents: must be the text"),
        ("", "corpus.jsonl: holds no passage"),
    ],
)
def test_a_line_that_is_no_passage_is_told(tmp_path, text, place):
    file = tmp_path / "corpus.jsonl"
    file.write_text(text)
    with pytest.raises(ConfigError) as fault:
        read_passages(file)
    assert place in str(fault.value)


def test_a_corpus_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read: .*No such file"):
        read_passages(tmp_path / "nowhere.jsonl")


def test_the_facts_of_a_world_are_passages_in_which_a_question_finds_its_answer():
    from router_r1.sim.world.facts import NAMES, VERBS, World

    passages = world_passages(0)
    assert len(passages) == len(VERBS) * len(NAMES)
    index = Bm25([p.contents for p in passages])
    question = World(0).question(NAMES[5], VERBS[0])
    best = passages[index.best(question.text, 1)[0][0]].contents
    assert NAMES[5] in best
    assert VERBS[0] in best
