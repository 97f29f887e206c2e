"""Supervised fine-tuning: what it learns of a question file, and what is refused before it starts."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("torch")
pytest.importorskip("verl")

from router_r1.datasets import Question, question_row, write_parquet
from router_r1.errors import ConfigError
from router_r1.rollout.tokens import encode_prompt
from router_r1.training.sft import plan_sft
from router_r1.training.sft_process import AnsweredQuestions
from tests.doubles.bpe_tokenizers import build_tokenizer

PROMPT = [{"role": "user", "content": "Candidates: none\nQuestion: What is the capital of Italy?"}]


def question_file(path, *, golden=("Rome", "Roma"), split="train", rows=1):
    item = Question("q", "What is the capital of Italy?", tuple(golden))
    made = [question_row(item, data_source="s", split=split, index=n, messages=PROMPT) for n in range(rows)]
    write_parquet(made, path)
    return path


@pytest.fixture
def model(tmp_path) -> str:
    folder = tmp_path / "model"
    build_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    return str(folder)


def answered(file, max_length: int = 2048, **how) -> AnsweredQuestions:
    return AnsweredQuestions([str(file)], build_tokenizer(), SimpleNamespace(max_length=max_length), **how)


def test_the_turn_that_direct_begins_is_learned_with_the_first_golden_answer(tmp_path):
    tokenizer = build_tokenizer()
    (item,) = answered(question_file(tmp_path / "train.parquet"))
    prompt = encode_prompt(tokenizer, PROMPT)
    assert item["input_ids"][: len(prompt)].tolist() == prompt
    learned = item["input_ids"][item["loss_mask"] == 1]
    assert tokenizer.decode(learned) == "<think> </think>\n<answer> Rome </answer>"
    assert item["loss_mask"].tolist() == [0] * len(prompt) + [1] * len(learned)
    assert item["position_ids"].tolist() == list(range(len(item["input_ids"])))


def test_a_tag_in_an_answer_is_data(tmp_path):
    (item,) = answered(question_file(tmp_path / "train.parquet", golden=["a </answer> b"]))
    told = build_tokenizer().decode(item["input_ids"][item["loss_mask"] == 1])
    assert told == "<think> </think>\n<answer> a [/answer] b </answer>"


def test_at_most_so_many_rows_are_taken(tmp_path):
    file = question_file(tmp_path / "train.parquet", rows=5)
    assert (len(answered(file)), len(answered(file, max_samples=2))) == (5, 2)


def test_a_row_that_is_too_long_or_has_no_answer_is_told_with_its_number(tmp_path):
    with pytest.raises(ConfigError, match=r"train.parquet: row 0: prompt: has \d+ tokens with its answer, over data"):
        answered(question_file(tmp_path / "train.parquet"), max_length=20)
    with pytest.raises(ConfigError, match=r"row 0: reward_model.ground_truth.target = \[\]: must hold at least one"):
        answered(question_file(tmp_path / "train.parquet", golden=[]))


def test_what_it_trains_and_where_follows_from_the_options(tmp_path, model, monkeypatch):
    monkeypatch.setattr("router_r1.training.sft.accelerators", lambda: 4)
    monkeypatch.setattr("router_r1.training.attention.is_missing", lambda platform: platform == "gpu")
    file = question_file(tmp_path / "train.parquet")
    config = plan_sft([file], model, tmp_path / "out", ["optim.lr=2e-6"]).config
    assert (config.data.train_files, config.model.path) == ([str(file)], model)
    assert (config.trainer.device, config.trainer.n_gpus_per_node, config.optim.lr) == ("cuda", 4, 2e-6)
    assert (config.model.override_config.attn_implementation, config.model.use_remove_padding) == ("sdpa", False)
    monkeypatch.setattr("router_r1.training.sft.accelerators", lambda: 0)
    config = plan_sft([file], model, tmp_path / "out").config
    assert (config.trainer.device, config.trainer.n_gpus_per_node) == ("cpu", 1)
    assert config.router_r1.env.VERL_PLATFORM == "cpu"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": []}, "--data: is needed"),
        ({"split": "test"}, "extra_info.split = ['test']: must hold training questions alone"),
        ({"model_path": "./nowhere"}, "--model-path = './nowhere': does not exist"),
        ({"overrides": ["optim.speed=3"]}, "Could not override 'optim.speed'"),
        ({"overrides": ["trainer.logger=[console,carrier_pigeon]"]}, "trainer.logger"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_starts(tmp_path, model, change, message):
    file = question_file(tmp_path / "train.parquet", split=change.pop("split", "train"))
    given = {"data": [file], "model_path": model, "out": tmp_path / "out", "overrides": [], **change}
    with pytest.raises(ConfigError) as fault:
        plan_sft(**given)
    assert message in str(fault.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_holds_one_fine_tuning(tmp_path, model):
    file, out = question_file(tmp_path / "train.parquet"), tmp_path / "out"
    out.mkdir()
    (out / "sft.json").write_text(json.dumps({"data": [str(file)], "model_path": model, "overrides": []}))
    plan_sft([file], model, out)
    with pytest.raises(ConfigError, match=r"was begun with overrides \[\], and this has \['optim.lr=1'\]"):
        plan_sft([file], model, out, ["optim.lr=1"])
    (out / "sft.json").unlink()
    (out / "results.csv").touch()
    with pytest.raises(ConfigError, match="is a folder with something else in it"):
        plan_sft([file], model, out)
