import random
import statistics

import pytest

from router_r1.datasets import read_questions
from router_r1.errors import ConfigError
from router_r1.sim.world.candidates import PROFILES, SimulatedPool
from router_r1.sim.world.facts import DOMAINS, World
from router_r1.sim.world.qa_book import QaBook, find_files, home_domain

QUESTIONS = {
    "who won the first season of the great singing contest": "Ada Lovelace",
    "what is the longest river of the northern province": "the Silverwater",
    "in which year did the old bridge at Kesterholm collapse": "1894",
    "who wrote the music for the film about the lighthouse": "Ivo Marr",
}


@pytest.fixture(scope="module")
def book(flashrag_root):
    return QaBook(find_files([flashrag_root]))


@pytest.fixture
def small_book(write_flashrag):
    rows = [{"id": str(i), "question": q, "golden_answers": [a]} for i, (q, a) in enumerate(QUESTIONS.items())]
    return QaBook(find_files([write_flashrag({"invented/test": rows})]))


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_found_whatever_its_case_and_punctuation(small_book, question):
    found = small_book.find(f" {question.upper()} ?!")
    assert found.answer == QUESTIONS[question]
    assert found.key == question.lower()


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_few_copying_errors_do_not_hide_a_question(small_book, question):
    for seed in range(20):
        rng = random.Random(seed)
        letters = list(question)
        for position in rng.sample(range(len(letters)), 3):
            letters[position] = rng.choice(["", "x", letters[position] * 2])
        found = small_book.find("".join(letters))
        assert found is not None, "".join(letters)
        assert found.answer == QUESTIONS[question]


@pytest.mark.parametrize("query", ["", "?", "who won", "what is the shortest path to the sea", "the " * 500])
def test_another_question_is_not_taken_for_one_of_the_book(small_book, query):
    assert small_book.find(query) is None


def questions_of(root, dataset):
    return [item for file in find_files([root / dataset]) for item in read_questions(file)]


def test_skill_follows_the_data_sets_home_domain(book, flashrag_root):
    pools = [SimulatedPool(World(seed), [book]) for seed in range(3)]
    for dataset in ("nq", "hotpotqa"):
        items = questions_of(flashrag_root, dataset)
        assert len(items) == 140
        for candidate, profile in PROFILES.items():
            known = [f"{i.golden_answers[0]}." in pool.reply(candidate, i.text) for pool in pools for i in items]
            stated = profile.knows_share(home_domain(dataset))
            assert statistics.mean(known) == pytest.approx(stated, abs=0.1), (dataset, candidate)


def test_the_two_training_sets_have_different_best_specialists():
    assert home_domain("nq") != home_domain("hotpotqa")
    assert home_domain("some_other_set") in DOMAINS
    assert home_domain("some_other_set") == home_domain("some_other_set")


def test_a_given_skill_replaces_the_default_for_that_data_set_only(flashrag_root):
    book = QaBook(find_files([flashrag_root]), {("nq", "Omni-72B"): 0.0})
    assert book.skill(PROFILES["Omni-72B"], "nq") == 0.0
    assert book.skill(PROFILES["Omni-72B"], "hotpotqa") == 0.85


def test_a_wrong_answer_is_the_answer_to_another_question_of_the_data_set(flashrag_root):
    book = QaBook(find_files([flashrag_root]), {("nq", name): 0.0 for name in PROFILES})
    pool = SimulatedPool(World(0), [book])
    for item in questions_of(flashrag_root, "nq")[:40]:
        reply = pool.reply("Omni-72B", item.text)
        assert "nq river " in reply
        assert f"{item.golden_answers[0]}." not in reply


def test_where_every_answer_is_right_there_is_still_a_wrong_one(write_flashrag):
    rows = [{"id": str(i), "question": f"is sentence {w} true", "golden_answers": ["yes"]} for i, w in enumerate("ab")]
    book = QaBook(find_files([write_flashrag({"invented/test": rows})]))
    assert book.find("is sentence a true").wrong(0) not in ("yes", "")


def test_files_folders_and_roots_are_found(flashrag_root):
    assert len(find_files([flashrag_root])) == 4
    assert [f.name for f in find_files([flashrag_root / "nq"])] == ["test.jsonl", "train.jsonl"]
    assert QaBook(find_files([flashrag_root / "nq/test.jsonl"])).datasets == ("nq",)


@pytest.mark.parametrize(
    ("skills", "named"),
    [
        ({("trivia", "Pico-1B"): 0.5}, "data set = 'trivia'"),
        ({("nq", "Nobody"): 0.5}, "candidate = 'Nobody'"),
        ({("nq", "Pico-1B"): 1.5}, "nq:Pico-1B = 1.5"),
    ],
)
def test_a_wrong_skill_is_refused(flashrag_root, skills, named):
    with pytest.raises(ConfigError, match=named):
        QaBook(find_files([flashrag_root]), skills)
