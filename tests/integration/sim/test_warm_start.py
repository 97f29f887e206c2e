"""Training, caching and checking of the warm start."""

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from router_r1.errors import ConfigError
from router_r1.pool import load_pool
from router_r1.prompts import load_template
from router_r1.protocol import Route, Search, Status, Trajectory, Turn, parse_turn
from router_r1.rollout.policy import Generation
from router_r1.sim.tiny_policy import SHIPPED_POLICY, warm_start
from router_r1.sim.tiny_policy.demonstrations import (
    NOBODY,
    Example,
    candidate_names,
    think_then_answer,
    think_then_search,
)
from router_r1.sim.tiny_policy.policy_check import check_policy, copies_exactly
from router_r1.sim.tiny_policy.torch_policy import TorchPolicy
from router_r1.sim.tiny_policy.vocabulary import graded_words, tokenizer_corpus
from router_r1.sim.tiny_policy.warm_start import (
    RECORD,
    WarmStartConfig,
    collate,
    ensure_warm_start,
    fingerprint,
    learning_rate,
)
from router_r1.sim.tiny_policy.weights import build_tokenizer, token_ids_of
from router_r1.sim.world.candidates import IGNORANCE
from router_r1.sim.world.facts import NAMES, World
from tests.doubles.commands import warm_start as warm_start_command

SHORT = WarmStartConfig(prelude_steps=2, prelude_batch=4, steps=3, batch=2, batches_sorted_together=2, warmup_steps=1)


@pytest.fixture(scope="module")
def pool(project_root):
    return load_pool(project_root / "configs/pools/dealt.yaml")


@pytest.fixture(scope="module")
def template():
    return load_template("tiny")


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A cache with one policy that was hardly trained, and that policy's folder."""
    cache = tmp_path_factory.mktemp("cache")
    return cache, ensure_warm_start(cache, config=SHORT, quiet=True)


def test_the_result_is_a_whole_hugging_face_folder_and_nothing_else_is_left(short):
    cache, folder = short
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= set(os.listdir(folder))
    assert sorted(os.listdir(cache / "warm_start")) == [folder.name, f"{folder.name}.lock"]
    AutoModelForCausalLM.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).chat_template


def test_a_cached_policy_is_taken_as_it_is(short, monkeypatch):
    cache, folder = short
    monkeypatch.setattr(warm_start, "build_warm_start", lambda *_, **__: pytest.fail("built a second time"))
    assert ensure_warm_start(cache, config=SHORT) == folder


def test_the_same_recipe_gives_the_same_weights(short, tmp_path):
    _, folder = short
    again = ensure_warm_start(tmp_path, config=SHORT, quiet=True)
    assert again.name == folder.name
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert (again / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_training_moves_every_weight(short, tmp_path):
    _, folder = short
    untrained = WarmStartConfig(prelude_steps=1, prelude_batch=1, steps=0, prelude_lr=0.0)
    before = AutoModelForCausalLM.from_pretrained(
        ensure_warm_start(tmp_path, config=untrained, quiet=True)
    ).state_dict()
    after = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert [name for name, weight in after.items() if torch.equal(weight, before[name])] == []


def test_it_starts_with_the_words_for_cost_weights_on_a_line(tmp_path):
    untrained = WarmStartConfig(prelude_steps=1, prelude_batch=1, steps=0, prelude_lr=0.0)
    folder = ensure_warm_start(tmp_path, config=untrained, quiet=True)
    graded = graded_words()
    ids = token_ids_of(AutoTokenizer.from_pretrained(folder), [*graded])
    embeddings = AutoModelForCausalLM.from_pretrained(folder).get_input_embeddings().weight[ids]
    places = embeddings @ torch.nn.functional.normalize(embeddings[-1] - embeddings[0], dim=0)
    correlation = torch.corrcoef(torch.stack([places, torch.tensor([*graded.values()])]))[0, 1]
    assert correlation > 0.95


def test_the_global_thread_count_is_left_as_it_was(tmp_path):
    before = torch.get_num_threads()
    ensure_warm_start(tmp_path, config=WarmStartConfig(prelude_steps=1, prelude_batch=1, steps=0), quiet=True)
    assert torch.get_num_threads() == before


def test_whatever_decides_the_result_is_part_of_the_key(pool, template):
    base = fingerprint(0, pool, template, SHORT)
    renamed = pool.deals.model_copy(update={"names": ("Lyra", *pool.deals.names[1:])})
    described = pool.candidates[0].model_copy(update={"descriptor": "cinema expert"})
    others = {
        fingerprint(1, pool, template, SHORT),
        fingerprint(0, pool, template, WarmStartConfig()),
        fingerprint(0, pool.model_copy(update={"deals": renamed}), template, SHORT),
        fingerprint(0, pool.model_copy(update={"candidates": (described, *pool.candidates[1:])}), template, SHORT),
        fingerprint(0, pool, type(template)("other", f"{template.text} Now."), SHORT),
    }
    assert len(others) == 5
    assert base not in others
    assert fingerprint(0, pool, template, SHORT) == base


def test_two_builders_at_once_build_one_policy(tmp_path, monkeypatch):
    real, built, results = warm_start.build_warm_start, [], []
    monkeypatch.setattr(warm_start, "build_warm_start", lambda *a, **k: (built.append(1), real(*a, **k)))
    threads = [
        threading.Thread(target=lambda: results.append(ensure_warm_start(tmp_path, config=SHORT, quiet=True)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert results[0] == results[1]


@pytest.mark.slow
def test_a_build_that_was_killed_is_done_again(tmp_path):
    command = (
        "import sys; from pathlib import Path; from router_r1.sim.tiny_policy.warm_start import *;"
        "ensure_warm_start(Path(sys.argv[1]), config=WarmStartConfig(prelude_steps=2, steps=100000))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", command, str(tmp_path)], env=environment)
    cache = tmp_path / "warm_start"
    try:
        deadline = time.monotonic() + 90
        while not list(cache.glob(".*.partial")):
            assert process.poll() is None
            assert time.monotonic() < deadline, "the build did not start"
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (partial,) = cache.glob(".*.partial")
    assert not [path for path in cache.iterdir() if path.is_dir() and path != partial]

    # The same folder, left by a build of the recipe that is asked for now.
    key = ensure_warm_start(tmp_path, config=SHORT, quiet=True).name
    leftover = cache / f".{key}.partial"
    os.rename(cache / key, leftover)
    (leftover / "model.safetensors").write_bytes(b"half")
    folder = ensure_warm_start(tmp_path, config=SHORT, quiet=True)
    assert not leftover.exists()
    AutoModelForCausalLM.from_pretrained(folder)


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("ROUTER_R1_CACHE", str(tmp_path / "here"))
    assert warm_start.default_cache() == tmp_path / "here"
    monkeypatch.delenv("ROUTER_R1_CACHE")
    assert warm_start.default_cache().parts[-2:] == (".cache", "router_r1")


def test_a_cache_that_is_a_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="ROUTER_R1_CACHE") as fault:
        ensure_warm_start(tmp_path / "file", config=SHORT, quiet=True)
    assert "\n" not in str(fault.value)


def test_an_output_folder_that_exists_is_refused(tmp_path, capsys):
    assert warm_start_command(["--out", str(tmp_path)]) == 2
    assert "--out" in capsys.readouterr().err


def test_a_folder_without_a_policy_cannot_be_checked(tmp_path, capsys):
    assert warm_start_command(["--check", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_the_check_reports_on_a_policy(short, capsys):
    assert warm_start_command(["--check", str(short[1]), "--trajectories", "4"]) == 0
    report = capsys.readouterr().out
    assert re.search(r"format_ok +[01]\.\d+", report)
    assert re.search(r"em +1_hop [01]", report)


def test_batches_are_padded_on_the_right_and_untrained_tokens_have_no_label():
    examples = [Example([5, 6, 7], [False, True, True]), Example([8], [True])]
    batch = collate([examples], pad_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [8, -100, -100]]


def test_the_learning_rate_rises_and_decays():
    config = WarmStartConfig(prelude_steps=20, steps=100, warmup_steps=10, lr=1.0, prelude_lr=0.5, final_lr=0.1)
    rates = [learning_rate(step, config) for step in range(120)]
    assert rates[0] < rates[9] == rates[19] == 0.5
    assert max(rates) == pytest.approx(1.0, abs=0.05)
    assert rates[119] == pytest.approx(0.1, abs=0.01)


# ---------------------------------------------------------------- the plain-torch back end


async def _generate(policy: TorchPolicy, prompt: list[int], max_tokens: int = 8) -> Generation:
    return await policy.generate(prompt, max_tokens=max_tokens, stop=("</search>",), request_id="x")


@pytest.fixture(scope="module")
def loaded(short):
    return AutoModelForCausalLM.from_pretrained(short[1]).eval(), AutoTokenizer.from_pretrained(short[1])


async def test_a_batch_generates_what_single_requests_would(loaded):
    model, tokenizer = loaded
    prompts = [tokenizer.encode(text) for text in ("<think> Who", "Candidates: a b c d e f g", "Who directed")]
    policy = TorchPolicy(model, tokenizer, greedy=True)
    together = await asyncio.gather(*[_generate(policy, prompt) for prompt in prompts])
    alone = [await _generate(policy, prompt) for prompt in prompts]
    assert [g.token_ids for g in together] == [g.token_ids for g in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


async def test_logprobs_are_those_of_a_forward_pass(loaded):
    model, tokenizer = loaded
    prompt = tokenizer.encode("<think> Who directed")
    generation = await _generate(TorchPolicy(model, tokenizer, seed=1), prompt)
    ids = torch.tensor([[*prompt, *generation.token_ids]])
    with torch.no_grad():
        logprobs = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    expected = logprobs.gather(1, ids[0, len(prompt) :, None])[:, 0].tolist()
    assert generation.logprobs == pytest.approx(expected, abs=1e-4)


async def test_samples_depend_on_the_seed_alone(loaded):
    model, tokenizer = loaded
    prompt = tokenizer.encode("Who")
    first, again, other = [await _generate(TorchPolicy(model, tokenizer, seed=seed), prompt, 32) for seed in (0, 0, 1)]
    assert first.token_ids == again.token_ids != other.token_ids


async def test_generation_ends_at_the_budget_or_at_a_stop_string(loaded):
    model, tokenizer = loaded
    stop = tokenizer.decode([random.Random(0).randrange(300, 900)])
    prompt = tokenizer.encode("Who")
    policy = TorchPolicy(model, tokenizer, seed=0)
    cut = await _generate(policy, prompt, 5)
    assert (len(cut.token_ids), cut.finish) == (5, "length")
    stop = tokenizer.decode(cut.token_ids[2:3])
    policy = TorchPolicy(model, tokenizer, seed=0)
    stopped = await policy.generate(prompt, max_tokens=5, stop=(stop,), request_id="x")
    assert stopped.finish == "stop"
    assert stopped.token_ids == cut.token_ids[: len(stopped.token_ids)]
    assert stop in tokenizer.decode(stopped.token_ids)


async def test_a_fault_of_the_model_reaches_whoever_waits(loaded):
    _, tokenizer = loaded

    def broken(**_):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        await _generate(TorchPolicy(broken, tokenizer), [5])


# ---------------------------------------------------------------- what the check calls an exact copy


def _trajectory(*turns: tuple[str, str | None]) -> Trajectory:
    records = []
    for text, reply in turns:
        action = parse_turn(text)
        route = Route(action.candidate, action.query, reply) if isinstance(action, Search) else None
        records.append(Turn([], [], text, action, route=route))
    return Trajectory([], records, Status.ANSWERED)


def test_copies_are_judged_hop_by_hop():
    question = World().question(NAMES[0], "directed", "coaches")
    entity, *names = NAMES[0], NAMES[7], NAMES[9]

    def ask(query, reply):
        return think_then_search("Hm.", "Omni-72B", query), reply

    inner = ask(f"who directed {entity}?", f"The answer is {names[0]}.")
    outer = ask(f"who coaches {names[0]}?", f"{names[1]} coaches {names[0]}.")
    whole = ask(question.text, f"It is {names[1]} who coaches the one who directed {entity}.")
    right, wrong = (think_then_answer(names[1]), None), (think_then_answer(entity), None)
    assert copies_exactly(question, _trajectory(inner, outer, right))
    assert copies_exactly(question, _trajectory(whole, right))
    assert not copies_exactly(question, _trajectory(whole, wrong))
    assert not copies_exactly(question, _trajectory(inner, right))
    assert not copies_exactly(
        question, _trajectory(inner, ask(f"who coaches {entity}?", f"The answer is {names[1]}."), right)
    )
    assert not copies_exactly(question, _trajectory(ask(f"who scored {entity}?", f"The answer is {names[1]}."), right))
    unknown = ask(f"who directed {entity}?", IGNORANCE)
    assert copies_exactly(question, _trajectory(unknown, inner, outer, right))
    assert copies_exactly(question, _trajectory(unknown, (think_then_answer(NOBODY), None)))
    assert not copies_exactly(question, _trajectory(unknown, right))
    assert copies_exactly(question, _trajectory(right))


# ---------------------------------------------------------------- the real thing


@pytest.mark.slow
def test_the_shipped_warm_start_has_form_and_copies_but_knows_no_more_than_descriptors_say(pool, template):
    model = AutoModelForCausalLM.from_pretrained(SHIPPED_POLICY)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED_POLICY)
    report = check_policy(model, tokenizer, pool, template, trajectories=512)
    assert report.format_ok >= 0.95, report
    assert report.copied >= 0.9, report
    assert report.em["known"] >= 0.9, report
    assert report.routes["known"] <= 0.2, report
    assert 0.4 <= report.fitting <= 0.75, report
    assert 0.4 <= report.em["1_hop"] <= 0.7, report
    assert report.em["2_hop"] >= 0.2, report
    assert 0.5 <= report.decomposed <= 0.9, report


def test_the_shipped_policy_is_what_the_script_builds_today(pool, template):
    record = json.loads((SHIPPED_POLICY / RECORD).read_text())

    today = fingerprint(record["seed"], pool, template, WarmStartConfig())
    assert record["fingerprint"] == today, f"build it again: router-r1 sim warm-start --out DIR --seed {record['seed']}"


def test_the_shipped_tokenizer_is_the_one_that_the_script_builds_today(pool, template):
    today = build_tokenizer(tokenizer_corpus(pool, template), (*candidate_names(pool), *NAMES))

    assert AutoTokenizer.from_pretrained(SHIPPED_POLICY).get_vocab() == today.get_vocab()
