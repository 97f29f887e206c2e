import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.errors import ConfigError
from router_r1.sim.world.candidates import PROFILES, REPLY_TEMPLATES
from router_r1.sim.world.facts import DOMAINS, FAMOUS, NAMES, ONE_HOP, RELATIONS, SPLITS, VERBS, Shares, World

WORLD = World(seed=0)

entities = st.sampled_from(NAMES)
verbs = st.lists(st.sampled_from(VERBS), min_size=1, max_size=2)

_PRINT_A_SAMPLE = """
from router_r1.sim.world.candidates import PROFILES, SimulatedPool
from router_r1.sim.world.facts import World
world = World(seed=5)
pool = SimulatedPool(world)
for question in world.generate("train", 50, seed=3):
    print(question.text, question.answer, *(pool.reply(name, question.text) for name in PROFILES))
    print(*(pool.latency_s(name, question.text) for name in PROFILES))
"""


def test_questions_and_replies_are_the_same_in_every_process():
    outputs = [
        subprocess.run(
            [sys.executable, "-c", _PRINT_A_SAMPLE],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].count(b"\n") == 100


def test_facts_do_not_change_between_versions_of_the_code():
    # Published results name a seed; these would silently refer to another world.
    assert [WORLD.fact("directed", NAMES[i]) for i in (0, 1, 511)] == ["Lesol", "Remok", "Radir"]
    assert [q.text for q in WORLD.generate("train", 3, seed=0)] == [
        "Who patented Balin?",
        "Who composed Danir?",
        "Who mapped the one who arranged Gogol?",
    ]


def test_importing_the_world_needs_no_heavy_library():
    script = (
        "import sys, router_r1.sim.world.facts; print([m for m in ('torch', 'pandas', 'pyarrow') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_each_name_can_be_one_token():
    assert len(set(NAMES)) == len(NAMES) == 512
    assert len({len(name) for name in NAMES}) == 1, "a name could be the beginning of another"
    words = " ".join((*REPLY_TEMPLATES, *PROFILES, *VERBS, *DOMAINS, "Who the one who Candidates: Question:"))
    assert [name for name in NAMES if name.casefold() in words.casefold()] == []


def test_no_verb_belongs_to_two_domains():
    assert len(RELATIONS) == 6
    assert len(VERBS) == 24 == sum(len(own) for own in RELATIONS.values())


@given(entity=entities, verbs=verbs, seed=st.integers(0, 2**31))
def test_an_answer_is_a_name_other_than_the_one_asked_about(entity, verbs, seed):
    question = World(seed).question(entity, *verbs)
    for hop in question.hops:
        assert hop.answer in NAMES
        assert hop.answer != hop.entity


@given(entity=entities, verbs=verbs)
def test_a_question_is_recognised_from_its_text(entity, verbs):
    question = WORLD.question(entity, *verbs)
    assert WORLD.parse(question.text) == question
    assert WORLD.parse(f"  {question.text.upper().rstrip('?')} ") == question


@pytest.mark.parametrize(
    "text",
    ["", "Who?", "Who directed?", "Who directed Nobody?", "Who ate Badek?", "Badek", "Who directed Badek Badek?"],
)
def test_other_text_is_no_question_of_the_world(text):
    assert WORLD.parse(text) is None


@given(text=st.text())
def test_any_text_is_a_question_with_an_answer_or_none(text):
    parsed = WORLD.parse(text)
    assert parsed is None or parsed.answer in NAMES


def test_a_two_hop_question_composes_two_facts():
    question = WORLD.question(NAMES[7], "directed", "coaches")
    middle = WORLD.fact("directed", NAMES[7])
    assert question.text == f"Who coaches the one who directed {NAMES[7]}?"
    assert [hop.text for hop in question.hops] == [f"Who directed {NAMES[7]}?", f"Who coaches {middle}?"]
    assert [hop.domain for hop in question.hops] == ["film", "sport"]
    assert question.answer == WORLD.fact("coaches", middle)


def test_facts_about_famous_names_are_the_same_in_every_world():
    assert all(World(1).fact(verb, name) == WORLD.fact(verb, name) for verb in VERBS for name in FAMOUS)
    assert WORLD.question(FAMOUS[0], "directed").is_known
    assert not WORLD.question(FAMOUS[0], "directed", "coaches").is_known


def test_a_three_hop_question_composes_three_facts_and_is_read_as_it_is_written():
    question = WORLD.question(NAMES[7], "directed", "coaches", "owns")
    assert question.text == f"Who owns the one who coaches the one who directed {NAMES[7]}?"
    assert question.answer == WORLD.fact("owns", WORLD.fact("coaches", WORLD.fact("directed", NAMES[7])))
    assert WORLD.parse(question.text.lower()) == question


def test_another_seed_is_another_world_with_the_same_names():
    asked = [(verb, name) for verb in VERBS[:4] for name in NAMES[:60] if name not in FAMOUS]
    same = sum(World(1).fact(*fact) == WORLD.fact(*fact) for fact in asked)
    assert same < 10


def test_splits_share_no_question_whatever_the_seed_of_the_draw():
    drawn = {split: {q.text for s in (0, 1) for q in WORLD.generate(split, 300, seed=s)} for split in SPLITS}
    assert not drawn["train"] & drawn["val"]
    assert not drawn["train"] & drawn["test"]
    assert not drawn["val"] & drawn["test"]


def test_generated_questions_are_distinct_balanced_and_of_the_asked_share():
    questions = WORLD.generate("train", 2000, seed=0, shares=Shares(two_hop=0.4, three_hop=0, known=0))
    assert len(set(questions)) == 2000
    assert Counter(q.num_hops for q in questions) == {1: 1200, 2: 800}
    by_domain = Counter(q.hops[0].domain for q in questions)
    assert min(by_domain.values()) > 270
    assert Counter(q.num_hops for q in questions[:500])[2] == pytest.approx(200, abs=40), "hop counts must be mixed"
    assert questions != WORLD.generate("train", 2000, seed=1, shares=Shares(two_hop=0.4, three_hop=0, known=0))


def test_the_shares_of_hops_and_of_known_facts_are_those_asked_for():
    questions = WORLD.generate("train", 1000, seed=0, shares=Shares(two_hop=0.3, three_hop=0.2, known=0.1))
    assert Counter((q.num_hops, q.is_known) for q in questions) == {
        (1, True): 100,
        (1, False): 400,
        (2, False): 300,
        (3, False): 200,
    }
    none = WORLD.generate("train", 1000, shares=ONE_HOP)
    assert not any(question.is_known for question in none)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"split": "dev", "n": 1}, "split = 'dev'"),
        ({"split": "val", "n": 1, "shares": Shares(two_hop=1.1)}, "two_hop_share = 1.1"),
        (
            {"split": "val", "n": 1, "shares": Shares(two_hop=0.6, known=0.6)},
            r"two_hop_share \+ three_hop_share \+ known",
        ),
        ({"split": "val", "n": 500, "shares": Shares(0, 0, known=1)}, "about famous names = 500: only"),
        ({"split": "val", "n": -1}, "n = -1"),
        ({"split": "val", "n": 5000, "shares": ONE_HOP}, "1-hop questions of val = 5000: only 1"),
    ],
)
def test_a_draw_that_cannot_be_made_names_the_argument(arguments, named):
    with pytest.raises(ConfigError, match=named):
        WORLD.generate(**arguments)


def test_the_question_in_the_readme_can_be_asked_in_the_world(project_root):
    (question,) = re.findall(r'infer_vllm\.py --question "(.+)"', (project_root / "README.md").read_text())
    (name,) = set(re.findall(r"\w+", question)) & set(NAMES)
    assert question.endswith(f" {name}?")
    assert World().parse(question) is not None
