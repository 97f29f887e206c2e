"""Descriptors written by an LLM, the prompt as it will be, and the pools that are shipped."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from router_r1.benchmark.descriptors import clean, with_descriptors
from router_r1.pool import load_pool
from router_r1.protocol import neutralise
from tests.doubles.commands import pool as main
from tests.integration.conftest import CAPITALS, CandidateServer, question_of, write_pool, write_questions

POOL = """\
# What we offer.
name: two
defaults:
  base_url: URL
candidates:
  - name: Atlas-7B  # the small one
    model: m
    price: {input: 1.0, output: 0.5}
    descriptor: >-
      old words
      on two lines

  # the large one
  - {name: Borealis-70B, model: m, price: {input: 1.0, output: 0.5}, descriptor: old words}
"""


class WriterServer(CandidateServer):
    """Knows the capitals, and writes a descriptor when it is asked for an entry."""

    wrote = '"A <answer>sly</answer> 7B model:\nknows capitals."'

    def reply(self, request):
        text = request["messages"][0]["content"]
        if "entry of one language model" in text:
            self.replies[text] = self.wrote
        return super().reply(request)


@pytest.fixture
def server():
    with WriterServer().running() as running:
        yield running


@pytest.fixture
def pool_file(tmp_path, server):
    path = tmp_path / "two.yaml"
    path.write_text(POOL.replace("URL", server.url))
    return path


def test_descriptors_are_written_for_review_into_a_copy_of_the_pool_file(pool_file, server, tmp_path, capfd):
    before = pool_file.read_text()
    questions = write_questions(tmp_path / "q.parquet", {"easy": {**CAPITALS, "France": "Lyon"}})
    options = ["--with", "atlas-7b", "--probe", "5", "--data", str(questions)]
    assert main(["describe", "--pool", str(pool_file), *options]) == 0
    out = capfd.readouterr().out
    assert "Atlas-7B (0.80 of 5 right" in out
    described = tmp_path / "two.described.yaml"
    assert {c.descriptor for c in load_pool(described).candidates} == {
        "A [answer]sly[/answer] 7B model: knows capitals."
    }
    assert "# the small one" in described.read_text()
    assert "# What we offer." in described.read_text()
    assert pool_file.read_text() == before
    entries = [r["messages"][0]["content"] for r in server.requests if "entry of one" in r["messages"][0]["content"]]
    assert len(entries) == 2
    assert '"accuracy": 0.8' in entries[0]
    assert '"output": 0.5' in entries[0]


def test_the_writer_may_be_served_elsewhere(pool_file, server, tmp_path):
    pool_file.write_text(POOL.replace("URL", "http://127.0.0.1:1/v1"))
    options = ["--with", "strong/model", "--base_url", server.url, "--out", str(tmp_path / "new.yaml")]
    assert main(["describe", "--pool", str(pool_file), *options]) == 0
    assert {request["model"] for request in server.requests} == {"strong/model"}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--with", "nobody"], "Atlas-7B, Borealis-70B"),
        (["--with", "m", "--base_url", "no address"], "--base-url"),
        (["--with", "m", "--base_url", "http://127.0.0.1:1/v1", "--api_key_env", "sk-secret"], "--api-key-env"),
        (["--with", "Atlas-7B", "--probe", "3"], "--data"),
        (["--with", "m", "--base_url", "http://127.0.0.1:1/v1", "--api_key_env", "SOME_KEY"], "SOME_KEY"),
    ],
)
def test_what_cannot_work_is_refused_before_anybody_is_asked(pool_file, server, capfd, options, named):
    assert main(["describe", "--pool", str(pool_file), *options]) == 2
    err = capfd.readouterr().err
    assert named in err
    assert "sk-secret" not in err
    assert not server.requests


def test_a_writer_that_says_nothing_changes_no_file(pool_file, server, tmp_path, capfd):
    server.wrote = "<think> hm </think>"
    assert main(["describe", "--pool", str(pool_file), "--with", "Atlas-7B"]) == 1
    err = capfd.readouterr().err
    assert "error: no descriptor of Atlas-7B: " in err
    assert "; Borealis-70B: " in err
    assert not (tmp_path / "two.described.yaml").exists()


@pytest.mark.parametrize("reasoned", ["<think> hm </think> good at <b>", "hm </think> good at <b>"])
def test_a_descriptor_is_what_follows_the_reasoning_wherever_that_begins(reasoned):
    assert clean(reasoned) == clean("good at <b>") != ""


@given(st.text())
def test_a_descriptor_is_one_line_of_bounded_length_without_tags(reply):
    line = clean(reply)
    assert "\n" not in line
    assert len(line) <= 400
    assert neutralise(line) == line


WORDS = st.text(alphabet=st.characters(blacklist_categories=("C", "Z")), min_size=1) | st.just("Llama-3.1-8B-Instruct")


@given(st.lists(WORDS, min_size=1, max_size=60))
def test_any_descriptor_survives_the_pool_file(words):
    written = clean(" ".join(words))
    if written:
        text = with_descriptors(POOL, {"Atlas-7B": written, "Borealis-70B": written}, source="p")
        entries = yaml.safe_load(text)["candidates"]
        assert [" ".join(entry["descriptor"].split()) for entry in entries] == [written, written]
        assert "# the large one" in text


def test_show_prints_the_prompt_and_counts_its_tokens(project_root, tmp_path, model_folder, capfd):
    pool = write_pool(tmp_path / "pool.yaml", "http://127.0.0.1:1/v1")
    mine = tmp_path / "mine.txt"
    mine.write_text("Ask {pool_inline}.\n{question}")
    options = ["--pool", str(pool), "--model", str(mine), "--question", question_of("France"), "--tokenizer"]
    assert main(["show", *options, str(model_folder)]) == 0
    out = capfd.readouterr().out
    assert out.startswith("Ask Atlas-7B: knows things; Borealis-70B: knows things.\nWhat is the capital of France?")
    assert "in all\n  Atlas-7B: " in out


def test_show_says_that_a_pool_is_dealt_and_shows_its_own_candidates(tmp_path, capfd):
    pool = write_pool(tmp_path / "pool.yaml", "http://127.0.0.1:1/v1")
    with pool.open("a") as file:
        file.write("deals: {names: [Nova, Lyra, Orion], sizes: [1, 2]}\n")
    assert main(["show", "--pool", str(pool), "--model", "tiny"]) == 0
    out = capfd.readouterr().out
    assert "Atlas-7B" in out
    assert out.endswith("dealt: a question is offered 1 to 2 of these 2, by names such as Nova or Orion\n")


def test_a_template_with_a_wrong_placeholder_is_refused(tmp_path, project_root, capfd):
    mine = tmp_path / "mine.txt"
    mine.write_text("{pool_inline} {questoin}")
    assert main(["show", "--pool", str(project_root / "configs/pools/sim.yaml"), "--model", str(mine)]) == 2
    assert "{questoin}: unknown placeholder" in capfd.readouterr().err


# ---------------------------------------------------------------- shipped pools


@pytest.fixture
def shipped(project_root):
    return {file.stem: load_pool(file) for file in (project_root / "configs/pools").glob("*.yaml")}


def test_every_shipped_pool_loads(shipped):
    assert {name: pool.name for name, pool in shipped.items()} == {name: name for name in shipped}
    assert {"paper", "paper_unseen", "sim", "dealt", "local_small"} <= set(shipped)


def test_the_papers_candidates_have_the_prices_of_its_table_and_two_more_are_unseen(shipped):
    six = {c.name: c.price.output for c in shipped["paper"].candidates}
    assert six == {
        "Qwen2.5-7B-Instruct": 0.3,
        "LLaMA-3.1-70B-Instruct": 0.88,
        "LLaMA-3.1-8B-Instruct": 0.18,
        "Mistral-7B-Instruct": 0.2,
        "Mixtral-8x22B-Instruct": 1.2,
        "Gemma-2-27B-Instruct": 0.8,
    }
    assert shipped["paper_unseen"].candidates[:6] == shipped["paper"].candidates
    unseen = {c.name: c.price.output for c in shipped["paper_unseen"].candidates[6:]}
    assert unseen == {"Palmyra-Creative-122B": 1.8, "LLaMA3-ChatQA-1.5-8B": 0.18}
