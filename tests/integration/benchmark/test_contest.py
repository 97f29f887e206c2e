"""Several methods on the same questions: one policy, one route service, a row for each."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import yaml

from router_r1.benchmark.contest import Contest
from router_r1.benchmark.metrics import read_results
from router_r1.errors import BudgetSpent, ConfigError
from router_r1.methods.cascades import CASCADES, CascadeEntry, Decision
from router_r1.methods.cascades.cascade import check_replies
from router_r1.methods.encoders import Encoder
from router_r1.methods.routers import ROUTERS
from router_r1.methods.single_round import RouterEntry
from router_r1.recorded import RecordedReplies
from router_r1.rollout.backends import BACKENDS, OpenPolicy
from router_r1.rollout.model_folder import load_tokenizer
from router_r1.rollout.policy import Dispatcher
from router_r1.routing.config import RoutingConfig
from router_r1.scores import Sample, ScoredQuestion, ScoreTable, write_scores
from router_r1.settings import RouterOptions
from tests.doubles.commands import bench as main
from tests.doubles.commands import captured
from tests.doubles.speaking_policy import SpeakingPolicy
from tests.integration.conftest import (
    CAPITALS,
    CandidateServer,
    PolicyServer,
    question_of,
    write_model,
    write_pool,
    write_questions,
)

CHEAP, DEAR = "Atlas-7B", "Borealis-70B"


class BaseModel(PolicyServer):
    """The served policy, which goes on from what was written for it and stops where it is told to."""

    def reply(self, request):
        with self._lock:
            context = self.tokenizer.decode(request["prompt"])
        status, body = super().reply(request)
        if status != 200:
            return status, body
        choice = body["choices"][0]
        if re.search(r"<(answer|search)>$", context):
            last = re.findall(r"<(?:answer|search)>(.*)", choice["text"])[-1]
            choice["text"] = last if context.endswith("<search>") or "<answer>" in choice["text"] else " no </answer>"
        ends = [choice["text"].index(stop) + len(stop) for stop in request["stop"] if stop in choice["text"]]
        choice["text"] = choice["text"][: min(ends)]
        with self._lock:
            choice["token_ids"] = self.tokenizer.encode(choice["text"])
        return status, body


class KnowsSpain:
    """A router that has learned: the dear candidate is for questions about Spain, and not worth it if cost counts."""

    def fit(self, train: ScoreTable, encoder: Encoder, *, seed: int) -> None:
        self.fitted_on = tuple(train.texts)
        fits.append((self.fitted_on, encoder.name, seed))
        self.dear = train.candidates.index(DEAR)

    def utilities(self, questions: Sequence[str], alpha: float) -> np.ndarray:
        found = np.zeros((len(questions), 2))
        found[:, self.dear] = [("Spain" in question) - 0.5 - alpha for question in questions]
        return found

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self:
        raise NotImplementedError


fits: list[tuple[Sequence[str], str, int]] = []


@pytest.fixture(autouse=True)
def routers(monkeypatch):
    fits.clear()
    monkeypatch.setitem(ROUTERS, "spain", RouterEntry("Knows Spain", KnowsSpain, "made for this test"))
    away = RouterEntry("Away", KnowsSpain, "made for this test", needs=("no_such_module",))
    monkeypatch.setitem(ROUTERS, "away", away)
    monkeypatch.setitem(CASCADES, "doubts", CascadeEntry("Doubts Spain", DoubtsSpain, "made for this test"))
    twice = CascadeEntry("Reads two", lambda: DoubtsSpain(reads_two=True), "made for this test")
    monkeypatch.setitem(CASCADES, "two", twice)


class DoubtsSpain:
    """A cascade that always asks the cheap candidate, and of Spain the dear one as well, whose reply it then takes."""

    def check(self, train: RecordedReplies) -> None:
        check_replies(train, "Doubts Spain", samples=2 if self.reads_two else 1)

    def __init__(self, *, reads_two: bool = False) -> None:
        self.reads_two = reads_two

    def fit(self, train: RecordedReplies, encoder: Encoder, *, seed: int) -> None:
        self.check(train)
        fits.append(([question.text for question in train.questions], encoder.name, seed))
        assert train.candidates == (CHEAP, DEAR), "whom the pool does not have it must not ask"

    def at(self, alpha: float) -> DoubtsSpain:
        return self

    async def decide(self, question: str, routes: Dispatcher, *, request_id: str) -> Decision:
        asked = [await routes.route(CHEAP, question, trajectory_id=request_id)]
        if "Spain" in question:
            asked.append(await routes.route(DEAR, question, trajectory_id=request_id))
        return Decision(tuple(asked), len(asked) - 1)

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self:
        raise NotImplementedError


def scores(names: Sequence[str] = (DEAR, CHEAP)) -> ScoreTable:
    asked = [*(question_of(country) for country in CAPITALS), "Who sang?", "Who wrote?"]
    questions = tuple(ScoredQuestion(f"q{n}", "train", text) for n, text in enumerate(asked))
    ones = np.ones((len(asked), len(names)))
    return ScoreTable(questions, tuple(names), ones, ones, ones * 1e-6, ones.astype(bool), "scores.parquet")


def replies(file: Path, names: Sequence[str] = (DEAR, CHEAP, "Gone-1B")) -> Path:
    """A file of scores with replies."""
    rows = [
        Sample(
            id=f"q{number}", data_source="train", question=text, candidate=name, reply="Yes.", score=1.0,
            metric="cover_em", raw_cost=1.0, spend_usd=1e-6,
        )
        for number, text in enumerate([question_of("Italy"), "Who sang?", "Who wrote?"])
        for name in names
    ]  # fmt: skip
    write_scores(rows, file, provenance={})
    return file


@pytest.fixture
def served(tmp_path) -> Iterator[tuple[BaseModel, CandidateServer, dict[str, Any]]]:
    model = write_model(tmp_path / "model")
    with CandidateServer().running() as candidates, BaseModel(model).running() as policy:
        pool = write_pool(tmp_path / "pool.yaml", candidates.url)
        options = {"base_url": (policy.url,), "model_path": str(model), "pool": str(pool), "template": "tiny"}
        yield policy, candidates, options


@pytest.fixture
def contest(served, tmp_path):
    """Make a contest of methods; the questions are all capitals in one data set, two in another."""
    data = write_questions(tmp_path / "test.parquet", {"all": CAPITALS, "two": {"France": "Lyon", "Spain": "Madrid"}})

    def make(methods: str, **how: Any) -> Contest:
        given = {"data": [data], "out": tmp_path / "out", "skip_preflight": True, **how}
        return Contest(RouterOptions(**served[2]), methods, **given)

    return make


def rows_of(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    """(method and alpha, data set) -> row"""
    return {
        (f"{row['method']}@{row['alpha']}" if row["alpha"] else row["method"], row["dataset"]): row
        for row in csv.DictReader((folder / "results.csv").open())
    }


def test_every_method_has_a_row_for_each_data_set_with_the_accounting_of_the_loop(contest, served, tmp_path):
    _, candidates, _ = served
    found = contest("router-r1,direct,cot,largest,random,prompt-llm,largest*", constants=False).run()
    assert [one.title for one in found] == [
        "Router-R1", "Direct", "CoT", "Largest LLM", "Random", "Prompt LLM", "Largest LLM*",
    ]  # fmt: skip
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 7 * 3
    largest, direct = rows["largest", "all"], rows["direct", "all"]
    assert [float(largest[key]) for key in ("n", "em", "f1", "routes", "raw_cost")] == [5, 1, 1, 1, 2]
    assert [float(direct[key]) for key in ("em", "routes", "raw_cost", "spend_usd")] == [0, 0, 0, 0]
    assert float(rows["largest", "two"]["em"]) == 0.5
    assert float(rows["largest", "mean"]["em"]) == 0.75
    assert float(rows["largest", "all"][f"share/{CHEAP}"]) == 1, "prices are equal, and the first is taken"
    assert len(candidates.asked) == 7 * 5, "two of the seven methods ask nobody"
    assert read_results(tmp_path / "out" / "methods" / "largest_").title == "Largest LLM*"
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [(row["method"], row["dataset"]) for row in kept["rows"][:3]] == [
        ("router-r1", "all"), ("router-r1", "two"), ("router-r1", "mean"),
    ]  # fmt: skip
    assert (tmp_path / "out" / "field.png").stat().st_size > 10_000


def test_the_report_leads_from_each_curve_to_its_rows_and_tells_the_oracle_last(contest, tmp_path):
    contest("direct,largest,only:" + CHEAP, constants=True).run()
    page = (tmp_path / "out" / "report.html").read_text()
    for row, title in enumerate(["Direct", "Largest LLM", CHEAP, "Oracle, asking once"]):
        assert f'id="curve-{row}" href="#row-{row}" aria-label="{title}"' in page
        assert f'<tr id="row-{row}"><td>{title}</td>' in page
        assert f'id="told-{row}"' in page
    assert "<script" not in page
    assert "beside the paper" not in page


def test_the_papers_tables_stand_beside_ours_row_by_row(contest, tmp_path):
    contest("direct,largest", constants=False, paper="qwen").run()
    page = (tmp_path / "out" / "report.html").read_text()
    for heading in ("Exact match", "F1", "Raw cost per question"):
        assert f"<h2>{heading}, beside the paper&#39;s</h2>" in page
    assert "<td>Largest LLM</td><td>0.296</td>" in page
    assert "<td>Search-R1</td>" in page
    assert "do not compare" in page


def test_a_fitted_router_gives_a_curve_and_is_fitted_once_on_questions_that_are_not_asked(contest, tmp_path):
    contest("spain,spain*", alphas=(0.0, 1.0), scores=scores(), constants=False).run()
    assert fits == [(("Who sang?", "Who wrote?"), "words-384", 0)]
    rows = rows_of(tmp_path / "out")
    assert {name for name, _ in rows} == {"spain@0.0", "spain@1.0", "spain*@0.0", "spain*@1.0"}
    for name in ("spain", "spain*"):
        assert float(rows[f"{name}@0.0", "all"][f"share/{DEAR}"]) == 0.2
        assert float(rows[f"{name}@1.0", "all"][f"share/{DEAR}"]) == 0


def test_a_cascade_is_a_candidate_that_asks_others_and_what_it_asks_is_paid_for(contest, served, tmp_path):
    contest("doubts,doubts*", scores=replies(tmp_path / "scores.parquet"), constants=False).run()
    assert fits == [(["Who sang?", "Who wrote?"], "words-384", 0)]
    rows = rows_of(tmp_path / "out")
    for name in ("doubts@0.0", "doubts*@0.0"):
        everything = rows[name, "all"]
        assert float(everything[f"share/{DEAR}"]) == 0.2, "the candidate whose reply was taken"
        assert [float(everything[key]) for key in ("em", "routes", "raw_cost")] == [1, 1, 2 * 6 / 5]
    assert len(served[1].asked) == 2 * (6 + 3)


def test_cascades_that_cannot_be_fitted_are_told_and_those_that_are_named_refused(contest, served, tmp_path):
    file = replies(tmp_path / "scores.parquet")
    of_all = contest("all", scores=file, constants=False)
    assert "doubts" in [entry.contender.name for entry in of_all.entries]
    assert "Doubts Spain compares 2" in of_all.not_run["Reads two"]
    with pytest.raises(ConfigError, match="Doubts Spain compares 2"):
        contest("direct,two", scores=file, out=tmp_path / "two")
    with pytest.raises(ConfigError, match="reply: is nowhere, and cascades are fitted on replies"):
        contest("doubts", scores=scores(), out=tmp_path / "table")
    pool = Path(served[2]["pool"])
    pool.write_text(pool.read_text() + "deals: {sizes: [1, 2], names: [Amber, Beacon, Cedar]}\n")
    with pytest.raises(ConfigError, match=r"pool.yaml: deals: offers each question a part of it"):
        contest("doubts", scores=file, out=tmp_path / "dealt")


def test_a_prompt_that_tells_the_cost_weight_tells_each_of_a_curve(contest, served, tmp_path):
    policy, _, _ = served
    contest("router-r1,direct", alphas=(0.0, 0.95), constants=False).run()
    assert {name for name, _ in rows_of(tmp_path / "out")} == {"router-r1@0.0", "router-r1@0.95", "direct"}
    prompts = [policy.tokenizer.decode(request["prompt"]) for request in policy.requests]
    told = Counter(re.findall(r"cost counts (\w+)", prompt)[0] for prompt in prompts)
    assert told == {"nothing": 7 * 2 + 7, "most": 7 * 2}


def test_what_is_missing_is_told_and_the_others_run(contest):
    of_all = contest("all", constants=False)
    assert of_all.not_run["Knows Spain"] == "needs --scores FILE"
    assert of_all.not_run["Away"] == "needs no_such_module: pip install 'router-r1[methods]'"
    assert {entry.contender.name for entry in of_all.entries} >= {"router-r1", "direct", "cot", "prompt-llm*"}
    assert any(note.startswith("Away was not run: needs no_such_module") for note in of_all.notes)


def test_each_candidate_is_asked_once_for_the_constants_of_all_methods(contest, served, tmp_path):
    _, candidates, _ = served
    contest(f"only:{DEAR},largest", constants=True).run()
    assert len(candidates.asked) == 7 * 2 + 7 * 2
    rows = rows_of(tmp_path / "out")
    assert float(rows[f"only:{DEAR}", "mean"]["em_above_constant"]) == 0
    assert "constants" in json.loads((tmp_path / "out" / "results.json").read_text())


# ---------------------------------------------------------------- policies of their own


WIKI = {
    "name": "Wiki",
    "model": "none",
    "adapter": "retriever",
    "price": {"input": 0, "output": 0},
    "descriptor": "all",
}


@pytest.fixture
def started(served, tmp_path, monkeypatch) -> list[tuple[str, list[str]]]:
    """Policies that were started here, with the prompts that each was shown. They say who they are."""
    policies: list[tuple[str, list[str]]] = []

    @asynccontextmanager
    async def open_here(model_path: str) -> AsyncIterator[OpenPolicy]:
        def say(context: str) -> str:
            prompts.append(context)
            if Path(model_path).name == "asks" and "<information>" not in context:
                return f"<search> {CHEAP}: Who? </search>"
            return f" {Path(model_path).name} </answer>" if context.endswith("<answer>") else "<answer> 42 </answer>"

        prompts: list[str] = []
        policies.append((model_path, prompts))
        yield OpenPolicy(SpeakingPolicy(load_tokenizer(model_path), say), model_path)

    monkeypatch.setitem(BACKENDS, "vllm", open_here)
    pool = Path(served[2]["pool"])
    written = yaml.safe_load(pool.read_text())
    pool.write_text(yaml.safe_dump({**written, "candidates": [*written["candidates"], WIKI]}))
    for name in ("answers", "asks", "searches"):
        write_model(tmp_path / name)
    return policies


def test_what_was_trained_for_itself_is_started_after_the_base_model_and_asked_the_same(
    contest, served, started, tmp_path
):
    answers, searches = str(tmp_path / "answers"), str(tmp_path / "searches")
    found = contest(f"search-r1:{searches},direct,sft:{answers},router-r1:{answers}", constants=False).run()
    assert [one.label for one in found] == [
        "Search-R1 (searches)", "Direct", "SFT (answers)", "Router-R1 (answers), 0",
    ]  # fmt: skip
    assert [(model, len(prompts)) for model, prompts in started] == [(searches, 7), (answers, 14)], "one at a time"
    kept = (tmp_path / "out" / "methods").glob("sft*/trajectories.jsonl")
    assert {json.loads(line)["answer"] for line in next(kept).open()} == {"answers"}
    assert len(served[0].requests) == 7, "Direct alone is the base model's"


def test_search_r1_is_offered_the_retriever_alone(contest, started, tmp_path):
    searches = tmp_path / "searches"
    contest(f"search-r1:{searches},router-r1:{searches}", constants=False).run()
    prompts = started[0][1]
    assert [("Wiki" in prompt, CHEAP in prompt) for prompt in prompts] == [(True, False)] * 7 + [(True, True)] * 7


def test_one_budget_is_for_all_policies(contest, served, started, tmp_path):
    methods = f"largest,router-r1:{tmp_path / 'asks'}"
    contest(methods, constants=False, out=tmp_path / "free").run()
    spent = [float(rows_of(tmp_path / "free")[name, "all"]["spend_usd"]) for name in ("largest", f"{methods[8:]}@0.0")]
    assert spent[0] == spent[1] > 0
    served[2]["routing"] = RoutingConfig(budget_usd=6.9 * spent[0])  # the first of them uses it up
    with pytest.raises(BudgetSpent):
        contest(methods, constants=False).run()


def test_a_policy_of_its_own_is_gone_on_with_where_it_stopped(contest, started, tmp_path):
    methods = f"direct,sft:{tmp_path / 'answers'}"
    contest(methods, constants=False).run()
    contest(methods, constants=False, resume=True).run()
    assert len(started) == 1, "nothing is left to ask"
    contest(f"direct,sft:{tmp_path / 'searches'}", constants=False, resume=True).run()
    assert [Path(model).name for model, _ in started] == ["answers", "searches"]


# ---------------------------------------------------------------- resume


def test_after_a_fault_only_what_is_missing_is_asked_and_methods_can_be_added(contest, served, tmp_path):
    policy, candidates, _ = served
    policy.dies_after = 20
    with pytest.raises(RuntimeError, match="engine is dead"):
        contest("largest,direct", constants=False).run()
    policy.dies_after = None
    asked = len(candidates.asked)
    contest("largest,direct,router-r1", constants=False, resume=True).run()
    assert len(candidates.asked) <= asked + 7 + 7
    assert {name for name, _ in rows_of(tmp_path / "out")} == {"largest", "direct", "router-r1@0.0"}
    policy.requests.clear()
    contest("largest,direct,router-r1", constants=False, resume=True).run()
    assert policy.requests == [], "all is there"


def test_a_folder_is_not_overwritten_nor_gone_on_with_in_another_setting(contest):
    contest("direct", constants=False).run()
    with pytest.raises(ConfigError, match=r"--out = .*already holds"):
        contest("largest")
    with pytest.raises(ConfigError, match=r"num_questions = 7: differs"):
        contest("direct", resume=True, limit=1)


def test_a_fitted_router_is_not_gone_on_with_on_other_scores(contest):
    contest("spain", scores=scores(), constants=False).run()
    other = scores((CHEAP, DEAR))
    with pytest.raises(ConfigError, match="scores_sha256"):
        contest("spain", scores=other, constants=False, resume=True)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("methods", "how", "message"),
    [
        ("spain", {}, "--scores: is needed: spain is fitted on scores"),
        ("nonsense", {}, "--methods = 'nonsense': is no method; there are router-r1, direct, cot"),
        ("only:Zeus-9B", {}, "--methods = 'only:Zeus-9B': names no candidate of "),
        ("rag", {}, "--methods = 'rag': needs a candidate with adapter: retriever"),
        ("away", {}, "--methods = 'away': leaves nothing to run"),
        ("direct", {"resume": True, "out": None}, "--resume: needs --out DIR"),
        ("direct", {"limit": 0}, "--limit = 0: must be at least 1"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(contest, methods, how, message):
    with pytest.raises(ConfigError) as fault:
        contest(methods, **how)
    assert message in str(fault.value)


def test_without_questions_it_says_whose_there_are(contest):
    with pytest.raises(ConfigError, match=r"--data: is needed: .*\(--run latest is the one trained last\)"):
        contest("direct", data=[])


def test_scores_that_lack_a_candidate_or_hold_only_what_is_asked_are_refused(contest):
    with pytest.raises(ConfigError, match=f"scores.parquet: candidate = '{CHEAP}': is in the pool and has no scores"):
        contest("spain", scores=scores((DEAR, "Gone")))
    with pytest.raises(ConfigError, match="question: are all asked here"):
        contest("spain", scores=scores().rows(range(5)))


# ---------------------------------------------------------------- the command


def words(served, tmp_path, *more: str) -> list[str]:
    _, _, options = served
    data = write_questions(tmp_path / "test.parquet", {"all": CAPITALS})
    named = {"--base-url": options["base_url"][0], "--data": data, "--out": tmp_path / "out"}
    named |= {f"--{key.replace('_', '-')}": options[key] for key in ("model_path", "pool", "template")}
    return [*(str(word) for pair in named.items() for word in pair), *more]


def test_the_command_prints_a_table_of_methods(served, tmp_path):
    code, out, messages = captured(main, words(served, tmp_path, "--methods", "largest,direct", "--no-constants"))
    assert code == 0, messages
    lines = [line.split() for line in out.splitlines()]
    assert ["Largest", "LLM", "1.000", "1.000", "2", "1.2e-05", "1.00"] in [line[:7] for line in lines]
    assert ["Direct", "0.000"] in [line[:2] for line in lines]
    assert out.rstrip().endswith(f"results: {tmp_path / 'out'}\nreport: {tmp_path / 'out' / 'report.html'}")


@pytest.mark.parametrize("written", ["0,two", "0,1.5", ""])
def test_weights_that_are_none_are_refused(served, tmp_path, written):
    code, _, messages = captured(main, words(served, tmp_path, "--methods", "direct", "--alphas", written))
    assert (code, "--alphas" in messages) == (2, True)


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(served, tmp_path, project_root):
    policy, _, _ = served
    policy.held_back.add("Poland")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "router_r1",
            "bench",
            *words(served, tmp_path, "--methods", "largest", "--no-constants"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(project_root)},
        stderr=subprocess.PIPE,
        text=True,
    )
    file = tmp_path / "out" / "methods" / "largest" / "trajectories.jsonl"
    while not file.exists() or file.read_bytes().count(b"\n") < 4:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=120)
    policy.let_go.set()
    assert process.returncode == 130
    assert "interrupted; go on with --resume --out" in messages
