"""EM and F1 by the SQuAD definition, except where normalisation leaves nothing to compare."""

from __future__ import annotations

import random
import re
from string import punctuation

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.rewards.outcome import exact_match, f1_score, holds_answer, normalize_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Eiffel Tower!", "eiffel tower"),
        ("  an   apple,\ta day\n", "apple day"),
        ("U.S.A.", "usa"),
        ("theory of Athens", "theory of athens"),
        ("ÉCOLE Normale", "école normale"),
        ("東京 — “都”", "東京 — “都”"),
        ("10%", "10"),
        ("a the an !", ""),
    ],
)
def test_normalisation(text, expected):
    assert normalize_answer(text) == expected


@given(st.text(), st.lists(st.text(), max_size=4))
def test_em_is_binary_and_never_above_f1(answer, golden):
    em, f1 = exact_match(answer, golden), f1_score(answer, golden)
    assert em in (0.0, 1.0)
    assert em <= f1 <= 1.0


@given(st.text(), st.lists(st.text(), min_size=1, max_size=4))
def test_the_best_golden_answer_counts(answer, golden):
    for metric in (exact_match, f1_score):
        assert metric(answer, golden) == max(metric(answer, [g]) for g in golden)


@given(st.text())
def test_every_text_matches_itself(text):
    assert exact_match(text, [text]) == f1_score(text, [text]) == 1.0


@pytest.mark.parametrize("metric", [exact_match, f1_score])
def test_without_an_answer_or_without_golden_answers_nothing_is_right(metric):
    assert metric(None, ["Paris"]) == 0.0
    assert metric(None, [""]) == 0.0
    assert metric("Paris", []) == 0.0


@pytest.mark.parametrize("metric", [exact_match, f1_score])
@pytest.mark.parametrize(
    ("answer", "golden", "expected"),
    [
        ("", "The", 0.0),
        ("", "A", 0.0),
        ("", "!", 0.0),
        ("the", "A", 0.0),
        ("an", "the", 0.0),
        ("?", "!", 0.0),
        ("the", "The", 1.0),
        (" a ", "A", 1.0),
        ("!", "!", 1.0),
        ("A", "Paris", 0.0),
        ("Paris", "A", 0.0),
        ("A", "A!", 0.0),
    ],
)
def test_where_normalisation_leaves_nothing_the_raw_strings_decide(metric, answer, golden, expected):
    assert metric(answer, [golden]) == expected


@pytest.mark.parametrize(
    ("answer", "golden", "expected"),
    [
        ("yes", "yes", 1.0),
        ("Yes.", "yes", 1.0),
        ("yes it is", "yes", 0.0),
        ("yes", "yes it is", 0.0),
        ("no", "yes", 0.0),
        ("noanswer", "noanswer", 1.0),
        ("noanswer given", "noanswer", 0.0),
        ("no man", "no country for old man", 4 / 7),
    ],
)
def test_yes_no_and_noanswer_are_never_partly_right(answer, golden, expected):
    assert f1_score(answer, [golden]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "golden", "expected"),
    [
        ("The answer is Jane Austen.", ["Jane Austen"], 1.0),
        ("the answer is JANE  the austen!", ["Jane Austen"], 1.0),
        ("It was Jane, not Austen.", ["Jane Austen"], 0.0),
        ("It was Janet Austen.", ["Jane Austen", "Austen"], 1.0),
        ("Austenland.", ["Austen"], 0.0),
        ("In 1815.", ["18"], 0.0),
        ("Yes, both are.", ["yes"], 1.0),
        ("Yes and no.", ["yes"], 0.0),
        ("Nobody knows.", ["no"], 0.0),
        ("", ["Paris"], 0.0),
        ("Paris", [], 0.0),
        ("A note.", ["A"], 0.0),
        ("a", ["A"], 1.0),
    ],
)
def test_a_reply_is_right_if_it_holds_a_golden_answer_as_a_whole_phrase(text, golden, expected):
    assert holds_answer(text, golden) == expected


@given(st.text(), st.text(), st.text())
def test_what_matches_exactly_is_held_and_stays_so_with_words_around_it(answer, before, after):
    assert holds_answer(answer, [answer]) == 1.0
    if normalize_answer(answer) not in ("", "yes", "no", "noanswer"):
        assert holds_answer(f"{before} {answer} {after}", [answer]) == 1.0


def test_f1_counts_repeated_tokens_as_often_as_they_occur():
    assert f1_score("new new york", ["new york york"]) == pytest.approx(2 / 3)


# A reference written from the definition: character by character, precision and recall spelled out.


def reference_tokens(text: str) -> list[str]:
    kept = "".join(ch for ch in text.lower() if ch not in punctuation)
    return [word for word in kept.split() if word not in ("a", "an", "the")]


def reference_f1(answer: list[str], golden: list[str]) -> float:
    if answer != golden and (
        " ".join(answer) in ("yes", "no", "noanswer") or " ".join(golden) in ("yes", "no", "noanswer")
    ):
        return 0.0
    left, shared = list(golden), 0
    for token in answer:
        if token in left:
            left.remove(token)
            shared += 1
    if shared == 0:
        return 0.0
    precision, recall = shared / len(answer), shared / len(golden)
    return 2 * precision * recall / (precision + recall)


def test_ten_thousand_pairs_agree_with_the_definition():
    rng = random.Random(0)
    words = [
        "the",
        "A",
        "an",
        "yes",
        "No",
        "noanswer",
        "Paris",
        "paris,",
        "(France)",
        "Émile",
        "東京",
        "1,000",
        "don't",
        "--",
        "x",
    ]
    partial = 0
    for _ in range(10_000):
        answer, golden = (rng.choice([" ", "  ", "\n"]).join(rng.choices(words, k=rng.randint(1, 5))) for _ in range(2))
        answer_tokens, golden_tokens = reference_tokens(answer), reference_tokens(golden)
        if not answer_tokens or not golden_tokens:
            continue
        expected = reference_f1(answer_tokens, golden_tokens)
        partial += 0 < expected < 1
        assert exact_match(answer, [golden]) == float(answer_tokens == golden_tokens), (answer, golden)
        assert f1_score(answer, [golden]) == pytest.approx(expected), (answer, golden)
    assert partial > 1_000


# The SQuAD script's own steps, over any characters: its article pattern knows word boundaries, so that "the’s" loses
# its article and "théâtre" does not.

AWKWARD = [
    *"aAtThHeE nN'’.,!?-_—“”()0٣１éßİ東ａ🙂\u00a0\u3000\u0301",
    *["the", " a ", " an ", "The "],
    *[" "] * 10,
]


def squad_tokens(text: str) -> list[str]:
    kept = "".join(ch for ch in text.lower() if ch not in set(punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", kept, flags=re.UNICODE).split()


def test_ten_thousand_unicode_pairs_agree_with_the_squad_scripts_definition():
    rng = random.Random(1)
    compared = equal = partial = 0
    while compared < 10_000:
        answer = "".join(rng.choices(AWKWARD, k=rng.randint(1, 16)))
        golden = answer if rng.random() < 0.2 else "".join(rng.choices(AWKWARD, k=rng.randint(1, 16)))
        if rng.random() < 0.3:
            golden = f"The {golden.upper()} !"
        answer_tokens, golden_tokens = squad_tokens(answer), squad_tokens(golden)
        if not answer_tokens or not golden_tokens:
            continue
        compared += 1
        expected = reference_f1(answer_tokens, golden_tokens)
        equal += answer_tokens == golden_tokens
        partial += 0 < expected < 1
        assert exact_match(answer, [golden]) == float(answer_tokens == golden_tokens), (answer, golden)
        assert f1_score(answer, [golden]) == pytest.approx(expected), (answer, golden)
    assert equal > 1_000
    assert partial > 300
