"""Which methods a name, or `all`, stands for."""

from __future__ import annotations

import pytest

from router_r1.errors import ConfigError
from router_r1.methods.cascades import CASCADES, CascadeEntry
from router_r1.methods.catalogue import contenders
from router_r1.methods.routers import ROUTERS
from router_r1.methods.single_round import RouterEntry
from router_r1.pool import Candidate, Price, RoutingPool


def candidate(name: str, **settings) -> Candidate:
    url = "http://127.0.0.1:9/v1"
    price = Price(input=0, output=0)
    return Candidate(name=name, model=name, price=price, descriptor="d", base_url=url, **settings)


POOL = RoutingPool(name="llms", candidates=[candidate("Atlas-7B", aliases=["atlas"])])
MIXED = RoutingPool(name="mixed", candidates=[*POOL.candidates, candidate("Wiki", adapter="retriever")])


@pytest.fixture(autouse=True)
def routers(monkeypatch):
    for name in list(ROUTERS):
        monkeypatch.delitem(ROUTERS, name)
    entries = {
        "knn": RouterEntry("kNN", list, "a paper"),
        "dearest": RouterEntry("Largest LLM", list, "the same as largest"),
        "away": RouterEntry("Away", list, "a paper", needs=("no_such_module", "json")),
    }
    for name, entry in entries.items():
        monkeypatch.setitem(ROUTERS, name, entry)
    for name in list(CASCADES):
        monkeypatch.delitem(CASCADES, name)
    monkeypatch.setitem(CASCADES, "chain", CascadeEntry("Chain", list, "a paper"))


def names(written: str, pool: RoutingPool = POOL) -> list[str]:
    return [contender.name for contender in contenders(written, pool)]


def test_all_is_the_papers_table_and_every_fitted_router_and_cascade():
    every = ["router-r1", "direct", "cot", "random", "largest", "prompt-llm", "knn", "away", "chain"]
    every += ["prompt-llm*", "knn*"]
    assert names("all") == every
    assert names("all", MIXED) == [*every[:3], "rag", *every[3:]]


def test_names_are_taken_in_order_and_once():
    assert names(" direct, cot,direct") == ["direct", "cot"]
    assert names("knn*,all")[0] == "knn*"


def test_a_star_decomposes_and_shows_in_the_title():
    single, starred = contenders("knn,knn*", POOL)
    assert (single.title, starred.title, single.fits, starred.fits) == ("kNN", "kNN*", "knn", "knn")


def test_a_cascade_is_told_from_a_router_since_it_may_ask_anybody_and_is_fitted_on_replies():
    chain, starred, knn = contenders("chain,chain*,knn", POOL)
    assert [(c.title, c.fits, c.is_cascade) for c in (chain, starred)] == [
        ("Chain", "chain", True),
        ("Chain*", "chain", True),
    ]
    assert not knn.is_cascade


def test_a_candidate_is_meant_by_any_of_its_names():
    only, rag = contenders("only:atlas,rag", MIXED)
    assert (only.title, only.asks_only) == ("Atlas-7B", "Atlas-7B")
    assert (rag.title, rag.asks_only) == ("RAG", "Wiki")


def test_what_follows_a_cost_weight():
    found = {c.name: c for c in contenders("all,only:atlas", POOL)}
    assert {name for name, c in found.items() if c.follows_cost(told=False)} == {"knn", "knn*", "away", "chain"}
    told = {name for name, c in found.items() if c.follows_cost(told=True)}
    assert told == {"knn", "knn*", "away", "chain", "router-r1", "prompt-llm", "prompt-llm*"}


def test_packages_that_are_missing_are_named():
    missing = [c.missing for c in contenders("away,knn,direct", POOL)]
    assert missing == [
        "needs no_such_module: pip install 'router-r1[methods]'",
        "",
        "",
    ]


class Foreign:
    """A method of a user's."""

    async def answer(self, question: str, *, request_id: str):
        raise NotImplementedError


def test_a_dotted_path_is_a_method_outside_the_loop():
    (found,) = contenders(f"{__name__}:Foreign", POOL)
    assert (found.is_in_loop, found.fits) == (False, None)


@pytest.mark.parametrize(
    "written", ["", "nonsense", "direct,,cot", "direct*", "only:", "only:zeus", "prompt-llm:zeus", "rag"]
)
def test_what_is_no_method_is_refused(written):
    with pytest.raises(ConfigError, match="--methods"):
        contenders(written, POOL)


@pytest.fixture
def policy(tmp_path) -> str:
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / "runs" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "runs" / name).write_text("{}")
    return str(tmp_path / "runs")


def test_what_was_trained_for_itself_is_named_with_its_policy(policy):
    own, sft, search = contenders(f"router-r1:{policy},sft:{policy},search-r1:{policy}", MIXED)
    assert [one.title for one in (own, sft, search)] == ["Router-R1 (runs)", "SFT (runs)", "Search-R1 (runs)"]
    assert {one.model_path for one in (own, sft, search)} == {policy}
    assert [one.offers_only for one in (own, sft, search)] == [None, None, "Wiki"]
    assert [one.follows_cost(told=True) for one in (own, sft, search)] == [True, False, False]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("sft", "--methods = 'sft': needs a policy: sft:FOLDER"),
        ("router-r1:", "--methods = 'router-r1:': needs a policy: router-r1:FOLDER"),
        ("sft:./nowhere", "--methods = './nowhere': does not exist"),
        ("search-r1:POLICY", "needs a candidate with adapter: retriever, and llms has none"),
    ],
)
def test_a_policy_that_is_not_there_or_a_pool_that_it_cannot_ask_is_refused(policy, written, message):
    with pytest.raises(ConfigError) as fault:
        contenders(written.replace("POLICY", policy), POOL)
    assert message in str(fault.value)
