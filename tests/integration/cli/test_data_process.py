"""The data_process commands: what they write, and what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from router_r1.datasets import HUB, FlashragFolder, FlashragHub, check_cost_weights, check_parquet
from router_r1.datasets.parquet import read_provenance
from router_r1.datasets.selection import BENCHMARKS, draw
from router_r1.datasets.source import held_out_split
from router_r1.pool import load_pool
from router_r1.prompts.cost_words import cost_word
from tests.doubles.commands import data_benchmarks, data_train, data_validation


def write_root(root: Path, **files: list[dict]) -> Path:
    """`nq_train=[rows]` in FlashRAG's layout."""
    for name, rows in files.items():
        dataset, split = name.split("_")
        path = root / dataset / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return root


def asked(what: str, numbers: range) -> list[dict]:
    return [
        {"id": f"{what}_{i}", "question": f"what is {what} number {i}", "golden_answers": [f"{what} {i}"]}
        for i in numbers
    ]


@pytest.fixture
def root(tmp_path) -> Path:
    """Two training sets that share questions with each other and with test sets; popqa is tested on, never trained."""
    shared = {"id": "x", "question": "Who asked this?", "golden_answers": ["me"]}
    return write_root(
        tmp_path / "root",
        nq_train=[*asked("nq", range(60)), {**shared, "question": "who asked this"}, *asked("nq", range(3))],
        nq_dev=asked("dev", range(5)),
        nq_test=[*asked("nqtest", range(20)), *asked("nq", range(50, 60))],
        hotpotqa_train=[*asked("hotpot", range(40)), shared, *asked("pop", range(2))],
        hotpotqa_dev=asked("hotpotdev", range(12)),
        popqa_test=asked("pop", range(10)),
    )


@pytest.fixture
def run(root, tmp_path, capfd):
    """Run a command with its data and its output in place; exit code, standard output, standard error."""

    def command(main, *options, model="tiny"):
        code = main(["--data_root", str(root), "--out", str(tmp_path / "out"), "--model", model, *options])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return command


def rows_of(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def test_training_questions_of_several_sets_make_one_file_without_any_that_a_test_set_asks(run, tmp_path):
    code, out, _ = run(data_train)
    path = tmp_path / "out" / "train_nq_hotpotqa_tiny.parquet"
    rows = rows_of(path)
    assert code == 0
    assert check_parquet(path) == {"train"}
    assert [row["extra_info"]["index"] for row in rows] == list(range(len(rows)))
    questions = [row["extra_info"]["question"] for row in rows]
    assert sorted(questions) == sorted(
        [f"what is nq number {i}" for i in range(50)]
        + ["who asked this"]
        + [f"what is hotpot number {i}" for i in range(40)]
    )
    assert "nq:train: 51 of 51 drawn; left out: 3 repeated, 10 also in a test set" in out
    assert "hotpotqa:train: 40 of 40 drawn; left out: 1 repeated, 2 also in a test set" in out


def test_the_draw_is_in_the_files_metadata_and_repeats_byte_by_byte(run, tmp_path):
    path = tmp_path / "out" / "train_nq_tiny.parquet"
    options = ["--data_sources", "nq", "--n", "7", "--seed", "5"]
    run(data_train, *options)
    first = path.read_bytes()
    assert read_provenance(path) == {
        "seed": 5,
        "n": 7,
        "template": "tiny",
        "pool": "sim",
        "cost_weights": [],
        "draws": [
            {
                "dataset": "nq", "split": "train", "available": 51, "bad_rows": 0, "repeated": 3, "held_out": 10,
                "taken": 7,
            }
        ],
    }  # fmt: skip
    run(data_train, *options)
    assert path.read_bytes() == first
    run(data_train, *options[:-1], "6")
    assert path.read_bytes() != first


def test_validation_and_tests_take_test_else_dev_else_train(run, root, tmp_path):
    write_root(root, musique_train=asked("musique", range(4)))
    assert run(data_validation, "--data_sources", "nq,hotpotqa,musique")[0] == 0
    path = tmp_path / "out" / "test_nq_hotpotqa_musique_tiny.parquet"
    assert check_parquet(path) == {"test"}
    assert [(one["dataset"], one["split"]) for one in read_provenance(path)["draws"]] == [
        ("nq", "test"),
        ("hotpotqa", "dev"),
        ("musique", "train"),
    ]


def test_test_files_hold_one_data_set_each(run, tmp_path):
    code, out, _ = run(data_benchmarks, "--data_sources", "nq,popqa", "--n", "10")
    assert code == 0
    for name, size in (("nq", 10), ("popqa", 10)):
        rows = rows_of(tmp_path / "out" / f"test_{name}_tiny.parquet")
        assert len(rows) == size
        assert {row["data_source"] for row in rows} == {name}
        assert f"test_{name}_tiny.parquet: {size} questions" in out
    run(data_benchmarks, "--data_sources", "nq", "--n", "all")
    assert len(rows_of(tmp_path / "out" / "test_nq_tiny.parquet")) == 30


def test_more_questions_with_one_seed_are_the_same_and_some_more(root):
    few, many = (draw(FlashragFolder(root), "nq", "train", n, 3).items for n in (5, 20))
    assert many[:5] == few


def test_the_prompt_is_the_models_with_the_pools_candidates(run, tmp_path, project_root):
    run(data_validation, "--data_sources", "popqa", "--n", "1", model="llama")
    (row,) = rows_of(tmp_path / "out" / "test_popqa_llama.parquet")
    (message,) = row["prompt"]
    paper = load_pool(project_root / "configs/pools/paper.yaml")
    assert all(candidate.descriptor in message["content"] for candidate in paper.candidates)
    assert message["content"].rstrip().endswith("?")
    mine = tmp_path / "mine.txt"
    mine.write_text("{pool_inline} Q: {question}")
    run(data_validation, "--data_sources", "popqa", "--n", "1", model=str(mine))
    (row,) = rows_of(tmp_path / "out" / "test_popqa_mine.parquet")
    assert row["prompt"][0]["content"].startswith("Qwen2.5-7B-Instruct: ")


def test_each_question_gets_one_of_the_cost_weights_asked_for_and_its_prompt_tells_it(run, tmp_path):
    code, _, err = run(data_train, "--data_sources", "nq", "--n", "30", "--cost-weights", "0,0.6,0.95", model="qwen")
    assert code == 0, err
    path = tmp_path / "out" / "train_nq_qwen.parquet"
    check_cost_weights(path)
    assert read_provenance(path)["cost_weights"] == [0.0, 0.6, 0.95]
    rows = rows_of(path)
    assert Counter(row["extra_info"]["cost_weight"] for row in rows) == {0.0: 10, 0.6: 10, 0.95: 10}
    for row in rows:
        told = f"How much cost counts here: {cost_word(row['extra_info']['cost_weight'])} (on the scale"
        assert told in row["prompt"][0]["content"]


def test_verls_own_reader_takes_the_file_as_it_is(run, tmp_path):
    import datasets

    run(data_train, "--data_sources", "nq")
    path = tmp_path / "out" / "train_nq_tiny.parquet"
    loaded = datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded[0] == rows_of(path)[0]


def test_bad_rows_are_told_with_file_and_line_skipped_and_counted(run, root, tmp_path):
    path = root / "nq" / "train.jsonl"
    path.write_bytes(b'{"id": "1", "question": "\xff"}\n' + path.read_bytes())
    code, out, err = run(data_train, "--data_sources", "nq", "--max_bad_share", "0.02")
    assert code == 0
    assert "1 bad rows" in out
    assert "train.jsonl:1:" in "".join(err.split())
    code, _, err = run(data_train, "--data_sources", "nq")
    assert code == 2
    assert "1 of 65 rows are bad" in err


def test_a_write_that_fails_leaves_no_file_behind(root, tmp_path):
    """A process that dies at the second batch of rows."""
    script = (
        "import os, sys\n"
        "from router_r1.datasets import Question, question_row, write_parquet\n"
        "def rows():\n"
        "    for i in range(9000):\n"
        "        if i == 6000: os.kill(os.getpid(), 9)\n"
        "        question = Question(str(i), 'q', ('a',))\n"
        "        yield question_row(question, data_source='nq', split='train', index=i, messages=[])\n"
        "write_parquet(rows(), sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "out" / "train.parquet")], check=False)
    assert done.returncode == -9
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_the_hub_is_read_through_datasets(root, tmp_path, monkeypatch):
    """A folder in the hub's form stands for the repository: `datasets` reads both alike."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    names = {"nq": ("train", "test"), "popqa": ("test",)}
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {name}/{split}.jsonl\n" for split in splits)
        for name, splits in names.items()
    )
    (root / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    hub = FlashragHub(str(root))
    assert hub.splits("nq") == ["train", "test"]
    assert hub.splits("squad") == []
    assert held_out_split(hub, "nq") == "test"
    assert hub.read("popqa", "test") == FlashragFolder(root).read("popqa", "test")
    assert HUB == "RUC-NLPIR/FlashRAG_datasets"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--n", "0"], "--n"),
        (["--n", "many"], "--n"),
        (["--data_sources", ","], "--data-sources"),
        (["--data_sources", "nq,nq"], "--data-sources"),
        (["--data_sources", "squad"], "squad"),
        (["--max_bad_share", "2"], "--max-bad-share"),
        (["--pool", "nowhere.yaml"], "nowhere.yaml"),
        (["--model", "nowhere.txt"], "nowhere.txt"),
        (["--data_root", "nowhere"], "nowhere"),
        (["--cost_weights", "0.2,dear"], "--cost-weights = '0.2,dear': must be numbers in [0, 1], separated by commas"),
        (["--cost_weights", "0.2,2"], "--cost-weights = '0.2,2': must be numbers in [0, 1]"),
        (["--cost_weights", "0.2,0.25"], "a prompt tells 0.2 and 0.25 alike (little)"),
        (["--cost_weights", "0.2,0.6", "--model", "SILENT"], "silent.txt: add {cost_weight} to it"),
    ],
)
def test_a_wrong_option_is_told_and_nothing_is_written(run, tmp_path, options, named):
    silent = tmp_path / "silent.txt"
    silent.write_text("{pool_lookup}\n{question}")
    code, out, err = run(data_train, *(str(silent) if option == "SILENT" else option for option in options))
    assert code == 2
    assert out == ""
    assert "error: " in err
    assert named in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [data_train, data_validation, data_benchmarks])
def test_an_unknown_data_set_is_answered_by_those_there_are(run, command):
    code, _, err = run(command, "--data_sources", "squad")
    assert code == 2
    told = " ".join(err.split())
    assert "squad" in told
    assert "there are " in told
    assert "nq" in told.partition("there are ")[2]


def test_the_benchmarks_are_the_papers_seven():
    assert BENCHMARKS == ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle")


@pytest.mark.parametrize("script", ["qa_train_merge.py", "qa_test_merge.py", "qa_test_gen.py", "prompt_pool.py"])
def test_the_scripts_start(project_root, script):
    done = subprocess.run(
        [sys.executable, str(project_root / "data_process" / script), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: router-r1" in done.stdout
