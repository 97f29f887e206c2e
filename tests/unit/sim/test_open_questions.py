"""The warm starts that go on from the shipped one: what is shown, and that it trains."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from transformers import AutoTokenizer

from router_r1.datasets import Question, drawn_row, write_parquet
from router_r1.errors import ConfigError
from router_r1.pool import load_pool
from router_r1.prompts import load_template
from router_r1.recorded.warm_start import build_recorded_warm_start
from router_r1.sim.tiny_policy import SHIPPED_POLICY
from router_r1.sim.tiny_policy.demonstrations import Example
from router_r1.sim.tiny_policy.open_questions import (
    PRETRAINED,
    Batches,
    OpenQuestions,
    Recipe,
    astray,
    by_capital,
    has_capital,
    rate_left,
    recipe_for,
    varied,
)
from router_r1.sim.tiny_policy.real_questions import build_real_warm_start, leaning, names_told, some_words
from tests.doubles.recorded import sum_lines, sum_question, write_recorded_pool
from tests.doubles.tiny_checkpoint import save_tiny_checkpoint

SHORT = Recipe(steps=2, batch=2, rate=1e-3)
QUESTION = "Which one of the two is older?"
NAMING = "Who of both is older, Ann or Ben?"


def test_a_question_is_shown_with_other_numbers_of_the_same_form():
    text = sum_question(123, 4567)
    shown = [varied(text, by_capital(text.split()), random.Random(seed)) for seed in range(50)]

    assert len({*shown}) == 50
    assert sum("123" not in one for one in shown) > 25
    assert all(any(word.isdigit() and len(word) == 3 for word in one.split()) for one in shown)


def test_names_stay_names_and_other_words_other_words():
    words = by_capital(["Ann", '"Nip/Tuck"', "older", "which"])
    shown = [varied("which one is older Ben or Bo", words, random.Random(seed)) for seed in range(50)]

    assert {tuple(map(has_capital, one.split())) for one in shown if len(one.split()) == 7} == {
        (False, False, False, False, True, False, True)
    }
    assert any('"Nip/Tuck"' in one for one in shown)


def test_now_and_then_up_to_four_words_of_a_question_stand_there_twice():
    words = [f"w{letter}" for letter in "abcdefghij"]
    shown = [varied(" ".join(words), by_capital(words), random.Random(seed)).split() for seed in range(200)]
    longer = [len(one) - len(words) for one in shown if len(one) > len(words)]

    assert {*longer} == {1, 2, 3, 4}
    assert 30 < len(longer) < 90


def test_a_copy_that_goes_astray_is_closed_and_nothing_of_the_error_is_trained():
    example = Example(list(range(100, 120)), [at >= 5 for at in range(20)])
    for seed in range(50):
        shown = astray(example, 8, 15, range(1, 50), random.Random(seed))
        others = [at for at, token in enumerate(shown.ids) if token < 50]
        assert 8 <= others[0] < 15
        assert shown.ids[: others[0]] == example.ids[: others[0]]
        assert shown.ids[others[-1] + 1 :] == example.ids[15:]
        assert not any(shown.trained[at] for at in others)
        assert all(shown.trained[others[-1] + 1 :])
        assert len(shown.trained) == len(shown.ids)


def test_the_rate_rises_and_falls():
    left = [rate_left(step, 100) for step in range(100)]
    assert max(left) == pytest.approx(1, rel=0.02)
    assert left[0] < left[4] > left[50] > left[99] > 0.04


def test_a_language_model_is_shown_less_than_the_shipped_policy(tmp_path):
    assert recipe_for(SHIPPED_POLICY, SHORT) is SHORT
    assert recipe_for(tmp_path, SHORT) is PRETRAINED


def test_a_thought_says_whether_a_question_names_anything():
    assert names_told(QUESTION) == "Names in it: none."
    assert names_told(f"{QUESTION} {NAMING}") == names_told(NAMING) == "Names in it: some."


def test_what_has_a_name_leans_to_a_generalist_and_the_rest_to_a_specialist(project_root):
    pool = load_pool(project_root / "configs/pools/sim.yaml")
    omni, film = (next(c for c in pool.candidates if c.name == name) for name in ("Omni-72B", "CineMind-7B"))

    assert leaning(NAMING, omni) > 0 > leaning(QUESTION, omni)
    assert leaning(NAMING, film) == leaning(QUESTION, film) == 0


def test_demonstrations_say_whether_it_names_anything_and_go_astray_in_the_query_alone(project_root):
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED_POLICY)
    questions = OpenQuestions(
        texts=[QUESTION, NAMING], told=names_told, leaning=leaning, answer=lambda *_: "Ann", reply=lambda *_: "It is."
    )
    pool, template = load_pool(project_root / "configs/pools/sim.yaml"), load_template("tiny")
    lost, told = 0, set()
    for example in Batches(tokenizer, pool, template, questions, steps=1, batch=64, seed=0)[0]:
        start = example.trained.index(True)
        until_wrong = tokenizer.decode(example.ids[start : example.trained.index(False, start)])
        question = tokenizer.decode(example.ids[:start]).split("Question: ")[1].partition("\n")[0]
        assert f" {names_told(question)} Ask " in until_wrong
        told.add(names_told(question))
        assert until_wrong.count("<search>") == 1  # what is not trained lies in the query, or behind the turn
        lost += "</search>" not in until_wrong
    assert 2 <= lost <= 20
    assert len(told) == 2


def test_an_answer_that_stands_in_the_question_is_one_to_four_words_of_it():
    drawn = {some_words(QUESTION, random.Random(seed)) for seed in range(300)}
    assert {len(words.split()) for words in drawn} == {1, 2, 3, 4}
    assert all(f" {words} " in f" {QUESTION.rstrip('?')} " for words in drawn)
    assert some_words("Why?", random.Random(0)) == "Why"


def recorded(folder: Path, project_root: Path) -> None:
    pool = load_pool(write_recorded_pool(folder.parent, sum_lines(30)))
    build_recorded_warm_start(folder, pool, load_template("tiny"), seed=0, recipe=SHORT, quiet=True)


def real(folder: Path, project_root: Path, base: Path = SHIPPED_POLICY) -> None:
    rows = [
        drawn_row(
            Question(f"train_{number}", f"who wrote book {number}", (f"Ann {number}",)),
            data_source="nq",
            split="train",
            index=number,
            render=lambda question, **_: [{"role": "user", "content": question}],
        )
        for number in range(20)
    ]
    questions = folder.parent / "train.parquet"
    write_parquet(rows, questions)
    pool = load_pool(project_root / "configs/pools/sim.yaml")
    build_real_warm_start(folder, pool, load_template("tiny"), questions, seed=0, base=base, recipe=SHORT, quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("build", [recorded, real])
def test_it_goes_on_from_the_shipped_policy_and_is_the_same_for_the_same_seed(tmp_path, project_root, build):
    from transformers import AutoModelForCausalLM

    for name in ("one", "other"):
        build(tmp_path / name, project_root)
    folders = (tmp_path / "one", tmp_path / "other", SHIPPED_POLICY)
    one, other, shipped = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in folders)
    assert all((one[name] == other[name]).all() for name in one)
    assert any((one[name] != shipped[name]).any() for name in one)


@pytest.mark.slow
def test_one_for_real_questions_goes_on_from_any_language_model(tmp_path, project_root):
    from transformers import AutoModelForCausalLM

    base = save_tiny_checkpoint(tmp_path / "base", steps=0)
    real(tmp_path / "built", project_root, base)

    built, before = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (tmp_path / "built", base))
    assert {name: weight.shape for name, weight in built.items()} == {n: w.shape for n, w in before.items()}
    assert any((built[name] != before[name]).any() for name in built)
    assert (
        AutoTokenizer.from_pretrained(tmp_path / "built").get_vocab() == AutoTokenizer.from_pretrained(base).get_vocab()
    )


def test_a_model_that_cannot_be_loaded_is_named_in_one_line(tmp_path, project_root):
    (tmp_path / "base").mkdir()

    with pytest.raises(ConfigError, match=r"to build a warm start on = '.*/base': cannot be loaded") as told:
        real(tmp_path / "built", project_root, tmp_path / "base")
    assert "\n" not in str(told.value)
