"""Which policy, pool and prompt are meant, from options and run folders."""

import json
import os
from pathlib import Path

import pytest

from router_r1.benchmark.runner import files_of_run
from router_r1.errors import ConfigError
from router_r1.project_files import pool_file as project_pool
from router_r1.routing import RoutingConfig
from router_r1.settings import RouterOptions, make_settings


def make_run(runs_dir: Path, name: str, model_folder: Path, *, age_s: float = 0, **facts) -> Path:
    """A run folder as training leaves it."""
    folder = runs_dir / name
    huggingface = folder / "checkpoints" / "global_step_4" / "actor" / "huggingface"
    huggingface.mkdir(parents=True)
    for file in model_folder.iterdir():
        (huggingface / file.name).write_bytes(file.read_bytes())
    (folder / "checkpoints" / "global_step_4" / "cost_window.json").write_text("{}")
    facts = {"pool": str(project_pool("sim")), "template": "tiny", "simulated": True, "seed": 3, **facts}
    (folder / "run.json").write_text(json.dumps(facts))
    os.utime(huggingface, (1e9 - age_s, 1e9 - age_s))
    return huggingface


def test_without_options_the_newest_policy_of_all_runs_is_asked_in_its_own_setting(tmp_path, model_folder):
    make_run(tmp_path / "runs", "old", model_folder, age_s=100)
    newest = make_run(
        tmp_path / "runs", "new", model_folder, rollout={"max_turns": 2, "max_turn_tokens": 96}, max_prompt_length=256
    )
    (tmp_path / "runs" / "unfinished").mkdir()
    (tmp_path / "runs" / "unfinished" / "run.json").write_text("{}")
    (tmp_path / "runs" / "latest").symlink_to("unfinished")
    plan = make_settings(RouterOptions(runs=tmp_path / "runs"))
    assert Path(plan.options.model_path) == newest
    assert (plan.pool.name, plan.template.name, plan.simulated) == ("sim", "tiny", True)
    assert (plan.limits.max_turns, plan.limits.max_turn_tokens, plan.limits.max_prompt_length) == (2, 96, 256)
    assert (plan.sampling.temperature, plan.run["seed"]) == (0.0, 3)


def test_a_run_is_found_by_name_by_folder_and_by_a_model_inside_it(tmp_path, model_folder):
    old = make_run(tmp_path / "runs", "old", model_folder, age_s=100)
    make_run(tmp_path / "runs", "new", model_folder)
    for options in (
        RouterOptions(run="old"),
        RouterOptions(run=str(tmp_path / "runs" / "old")),
        RouterOptions(model_path=str(old)),
    ):
        plan = make_settings(options.model_copy(update={"runs": tmp_path / "runs"}))
        assert plan.run_dir == tmp_path / "runs" / "old"
        assert Path(plan.options.model_path) == old


def test_a_run_that_was_moved_to_another_folder_finds_its_pool_and_its_questions(tmp_path, model_folder):
    written = ["data/val.parquet", "/elsewhere/own.parquet", "hdfs://far/away.parquet"]
    make_run(tmp_path / "runs", "r", model_folder, pool="sim", val_files=written)
    moved = (tmp_path / "runs" / "r").rename(tmp_path / "copied")
    plan = make_settings(RouterOptions(run=str(moved)))
    assert plan.pool.name == "sim"
    assert files_of_run(plan) == [moved / "data" / "val.parquet", Path(written[1]), written[2]]


def test_a_checkpoint_that_is_not_whole_is_passed_over(tmp_path, model_folder):
    whole = make_run(tmp_path / "runs", "r", model_folder)
    half = tmp_path / "runs" / "r" / "checkpoints" / "global_step_8" / "actor" / "huggingface"
    half.mkdir(parents=True)
    assert Path(make_settings(RouterOptions(runs=tmp_path / "runs")).options.model_path) == whole


def test_without_any_run_the_error_says_how_to_get_a_policy(tmp_path):
    with pytest.raises(ConfigError, match=r"--model-path: .*router-r1 train"):
        make_settings(RouterOptions(runs=tmp_path / "runs"))


def test_an_unknown_run_is_refused_and_the_known_ones_are_named(tmp_path, model_folder):
    make_run(tmp_path / "runs", "known", model_folder)
    with pytest.raises(ConfigError, match=r"--run = 'other'.*known"):
        make_settings(RouterOptions(run="other", runs=tmp_path / "runs"))


def test_a_run_without_a_policy_is_refused(tmp_path):
    (tmp_path / "runs" / "young").mkdir(parents=True)
    (tmp_path / "runs" / "young" / "run.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"young.*no checkpoint"):
        make_settings(RouterOptions(run="young", runs=tmp_path / "runs"))


def test_a_policy_from_elsewhere_needs_a_pool(model_folder):
    with pytest.raises(ConfigError, match="--pool"):
        make_settings(RouterOptions(model_path=str(model_folder)))


def test_the_prompt_template_follows_the_model_where_no_run_says_one(model_folder, pool_file):
    def name():
        return make_settings(RouterOptions(model_path=str(model_folder), pool=str(pool_file))).template.name

    assert name() == "qwen"
    (model_folder / "config.json").write_text('{"model_type": "llama"}')
    assert name() == "llama"


@pytest.mark.parametrize(
    ("trained_with", "asked", "told"),
    [
        ({"cost_coe": 0.6}, None, 0.6),
        ({"cost_coe": "sampled"}, None, 0.0),
        ({}, None, 0.0),
        ({"cost_coe": 0.6}, 0.2, 0.2),
    ],
)
def test_a_question_is_told_the_cost_weight_asked_for_or_else_that_of_the_run(
    tmp_path, model_folder, trained_with, asked, told
):
    make_run(tmp_path / "runs", "r", model_folder, **trained_with, template="qwen")
    plan = make_settings(RouterOptions(runs=tmp_path / "runs", cost_weight=asked))
    assert plan.cost_weight == told
    assert (plan.as_config()["cost_weight"], plan.resume_key()["cost_weight"]) == (asked, asked)


def test_a_cost_weight_that_no_prompt_would_tell_is_refused(tmp_path, model_folder):
    silent = tmp_path / "silent.txt"
    silent.write_text("{pool_inline} {question}")
    make_run(tmp_path / "runs", "r", model_folder, template=str(silent))
    with pytest.raises(ConfigError, match=r"--cost-weight = 0.6: is told by no prompt.*add \{cost_weight\}"):
        make_settings(RouterOptions(runs=tmp_path / "runs", cost_weight=0.6))


def test_another_pool_or_endpoint_is_not_the_simulated_one(tmp_path, model_folder, pool_file):
    make_run(tmp_path / "runs", "r", model_folder)
    for options in (RouterOptions(pool=str(pool_file)), RouterOptions(api_base="http://127.0.0.1:9/v1")):
        assert not make_settings(options.model_copy(update={"runs": tmp_path / "runs"})).simulated
    assert make_settings(RouterOptions(pool=str(project_pool("sim")), runs=tmp_path / "runs")).simulated


def test_a_pool_file_says_itself_that_it_is_simulated_wherever_it_lies(tmp_path, model_folder):
    text = project_pool("sim").read_text()
    for name, written, simulated in (("copy", text, True), ("real", text.replace("simulated: true\n", ""), False)):
        file = tmp_path / f"{name}.yaml"
        file.write_text(written)
        options = RouterOptions(model_path=str(model_folder), pool=str(file))
        assert make_settings(options).simulated is simulated


def test_replies_of_the_simulated_pool_are_not_cached(tmp_path, model_folder):
    make_run(tmp_path / "runs", "r", model_folder)
    with pytest.raises(ConfigError, match="--cache"):
        make_settings(
            RouterOptions(
                pool=str(project_pool("sim")), routing=RoutingConfig(cache="readwrite"), runs=tmp_path / "runs"
            )
        )


def test_no_key_is_in_a_plan_or_in_options(pool_file, model_folder, monkeypatch):
    monkeypatch.delenv("ROUTER_R1_API_KEY", raising=False)
    options = RouterOptions(model_path=str(model_folder), pool=str(pool_file), api_key="sk-secret")
    plan = make_settings(options)
    assert "sk-secret" not in repr(options) + repr(plan) + json.dumps(plan.as_config())
    monkeypatch.delenv("ROUTER_R1_API_KEY")
