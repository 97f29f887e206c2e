"""What a candidate is sent for a sub-query: templates of the pool file."""

from __future__ import annotations

from pathlib import Path

import pytest

from router_r1.errors import ConfigError
from router_r1.pool import Candidate, Price, load_pool

POOLS = Path(__file__).parents[3] / "configs" / "pools"

POOL = """\
name: p
defaults: {base_url: "http://127.0.0.1:9/v1", DEFAULTS}
candidates:
  - {name: Small-1B, model: small, price: {input: 1, output: 1}, descriptor: d}
  - {name: Large-70B, model: large, price: {input: 1, output: 1}, descriptor: d, CANDIDATE}
"""


@pytest.fixture
def load(tmp_path):
    def _load(*, defaults: str = "timeout_s: 5", candidate: str = "timeout_s: 5"):
        file = tmp_path / "pool.yaml"
        file.write_text(POOL.replace("DEFAULTS", defaults).replace("CANDIDATE", candidate))
        return load_pool(file)

    return _load


def candidate(**settings: str) -> Candidate:
    price = Price(input=1, output=1)
    return Candidate(name="Small-1B", model="m", price=price, descriptor="d", base_url="http://h/v1", **settings)


def test_without_templates_the_bare_sub_query_is_the_only_message():
    assert candidate().messages("Who {name}?") == [{"role": "user", "content": "Who {name}?"}]


def test_templates_under_defaults_hold_for_all_candidates_that_have_none_of_their_own(load):
    small, large = load(
        defaults='message: "Answer briefly.\\n{query}", system: "You are {name}."', candidate='message: "{query}!"'
    ).candidates
    assert small.messages("Who?") == [
        {"role": "system", "content": "You are Small-1B."},
        {"role": "user", "content": "Answer briefly.\nWho?"},
    ]
    assert large.messages("Who?") == [
        {"role": "system", "content": "You are Large-70B."},
        {"role": "user", "content": "Who?!"},
    ]


def test_white_space_and_line_breaks_of_a_template_stay():
    assert candidate(message="  {query}\n\n end \n").messages("Who?")[0]["content"] == "  Who?\n\n end \n"


def test_what_is_filled_in_is_never_read_as_a_template_again():
    asked = candidate(message="{name}: {query} {query}").messages("{name} {query} {{name}} {x} 100 % \\1")
    assert asked[0]["content"] == "Small-1B: " + " ".join(["{name} {query} {{name}} {x} 100 % \\1"] * 2)


@pytest.mark.parametrize(
    ("template", "sent"),
    [
        ("Put it into \\boxed{}: {query}", "Put it into \\boxed{}: Who?"),
        ('Reply as {"answer": "..."}: {query}', 'Reply as {"answer": "..."}: Who?'),
        ("Write {{name}}, {{other}}: {query}", "Write {name}, {other}: Who?"),
        ("{ {query} }", "{ Who? }"),
    ],
)
def test_other_braces_are_text_and_a_doubled_placeholder_is_one_brace_less(template, sent):
    assert candidate(message=template).messages("Who?")[0]["content"] == sent


def test_half_of_a_surrogate_pair_in_a_query_is_replaced_since_it_cannot_be_sent():
    assert candidate(message="Q: {query}").messages("\ud800?")[0]["content"] == "Q: ??"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('message: "Who are you?"', ["message = 'Who are you?'", "{query} is missing"]),
        ('message: "{{query}}"', ["message = '{{query}}'", "{query} is missing"]),
        ('message: "{query} {question}"', ["message =", "unknown placeholder {question}", "{query}, {name}", "{{"]),
        ('message: "{query} { name }"', ["unknown placeholder { name }"]),
        ('message: ""', ["message = ''", "{query} is missing"]),
        ("message: 7", ["message = 7"]),
        ('system: "{model}"', ["system = '{model}'", "unknown placeholder {model}"]),
        ('system: " "', ["system = ' '", "must not be empty"]),
    ],
)
@pytest.mark.parametrize("place", ["defaults", "candidate"])
def test_a_wrong_template_is_told_in_one_line(load, place, written, told):
    with pytest.raises(ConfigError) as caught:
        load(**{place: written})
    line = str(caught.value)
    assert "\n" not in line
    for words in (f"pool.yaml: {'defaults' if place == 'defaults' else 'candidates[1]'}.", *told):
        assert words in line


# ---------------------------------------------------------------- the pools that come with the project


@pytest.mark.parametrize("name", ["paper", "paper_unseen", "local_small"])
def test_real_candidates_of_a_shipped_pool_are_all_asked_for_a_short_direct_answer(name):
    candidates = load_pool(POOLS / f"{name}.yaml").candidates
    [(message,)] = {tuple(m["content"] for m in c.messages("Who {is} it?")) for c in candidates}
    assert message.startswith("Answer this question directly, in a few sentences at most")
    assert message.endswith("say so plainly.\n\nWho {is} it?")


def test_simulated_candidates_are_sent_the_bare_sub_query():
    for candidate in load_pool(POOLS / "sim.yaml").candidates:
        assert candidate.messages("Who?") == [{"role": "user", "content": "Who?"}]


# ---------------------------------------------------------------- a simulated pool says so


def test_a_pool_file_says_whether_its_candidates_are_simulated():
    simulated = {path.stem: load_pool(path).simulated for path in POOLS.glob("*.yaml")}
    assert {name for name, is_simulated in simulated.items() if is_simulated} == {"sim", "dealt", "retriever"}
    assert load_pool(POOLS / "sim.yaml", base_url="http://127.0.0.1:1/v1").simulated
