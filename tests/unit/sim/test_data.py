from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from router_r1.datasets import check_cost_weights, check_parquet, parquet_schema
from router_r1.pool import Deal, draw_deal, load_pool
from router_r1.project_files import pool_file
from router_r1.prompts import load_template, render_messages
from router_r1.prompts.cost_words import cost_word
from router_r1.sim.world.facts import World
from tests.doubles.commands import sim as main

SIZES = ("--train", "200", "--val", "50")


def read(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


@pytest.fixture(scope="module")
def world_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    assert main(["data", "--out", str(folder), "--seed", "1", *SIZES]) == 0
    return folder


def test_world_files_have_the_schema_and_sizes_asked_for(world_folder):
    for split, size in (("train", 200), ("val", 50)):
        path = world_folder / f"{split}.parquet"
        assert pq.read_schema(path).remove_metadata() == parquet_schema()
        assert check_parquet(path) == {split}
        rows = read(path)
        assert [row["extra_info"]["index"] for row in rows] == list(range(size))
        shares = {"world_1hop": 0.4, "world_2hop": 0.35, "world_3hop": 0.15, "world_known": 0.1}
        found = Counter(row["data_source"] for row in rows)
        assert set(found) == set(shares)
        assert all(abs(found[source] - size * share) <= 1 for source, share in shares.items())


def test_shares_of_the_kinds_of_question_can_be_set(tmp_path):
    shares = ["--two-hop-share", "0.4", "--three-hop-share", "0", "--known-share", "0"]
    assert main(["data", "--out", str(tmp_path), *SIZES, *shares]) == 0
    rows = read(tmp_path / "train.parquet")
    assert Counter(row["data_source"] for row in rows) == {"world_1hop": 120, "world_2hop": 80}


def test_a_world_row_holds_prompt_and_golden_answer(world_folder):
    world = World(seed=1)
    for row in read(world_folder / "train.parquet"):
        question = world.parse(row["extra_info"]["question"])
        assert row["data_source"] == ("world_known" if question.is_known else f"world_{question.num_hops}hop")
        assert row["reward_model"] == {"style": "rule", "ground_truth": {"target": [question.answer]}}
        (message,) = row["prompt"]
        assert message["role"] == "user"
        assert question.text in message["content"]
        assert "Omni-72B" in message["content"]
        assert row["ability"] == question.hops[0].domain


def test_train_and_val_files_share_no_question(world_folder):
    train, val = (
        {row["extra_info"]["question"] for row in read(world_folder / f"{s}.parquet")} for s in ("train", "val")
    )
    assert len(train) == 200
    assert not train & val


def test_the_same_command_writes_the_same_bytes(world_folder, tmp_path):
    main(["data", "--out", str(tmp_path), "--seed", "1", *SIZES])
    assert (tmp_path / "train.parquet").read_bytes() == (world_folder / "train.parquet").read_bytes()


@pytest.mark.parametrize("real", [False, True])
def test_both_files_have_cost_weights_evenly_spread_over_their_questions(flashrag_root, tmp_path, real):
    source = ["--qa", str(flashrag_root)] if real else []
    options = ["--cost-weights", "0,0.4,0.95", "--train", "30", "--val", "12", *source]
    assert main(["data", "--out", str(tmp_path), *options]) == 0
    for split, each in (("train", 10), ("val", 4)):
        check_cost_weights(tmp_path / f"{split}.parquet")
        rows = read(tmp_path / f"{split}.parquet")
        assert Counter(row["extra_info"]["cost_weight"] for row in rows) == {0.0: each, 0.4: each, 0.95: each}
        for row in rows:
            assert (
                f"In this question cost counts {cost_word(row['extra_info']['cost_weight'])}."
                in row["prompt"][0]["content"]
            )


@pytest.fixture
def dealt_pool(tmp_path):
    """The simulated pool, dealt in threes and fours."""
    pool = yaml.safe_load(pool_file("sim").read_text())
    pool["deals"] = {"names": ["Nova", "Lyra", "Orion", "Vega", "Mira"], "sizes": [3, 4]}
    file = tmp_path / "dealt.yaml"
    file.write_text(yaml.safe_dump(pool))
    return file


@pytest.mark.parametrize("real", [False, True])
def test_with_a_dealt_pool_every_question_offers_a_deal_of_its_own(flashrag_root, dealt_pool, tmp_path, real):
    qa = ["--qa", str(flashrag_root)] if real else []
    sizes = ["--train", "20", "--val", "10"]
    assert main(["data", "--out", str(tmp_path), "--seed", "3", "--pool", str(dealt_pool), *sizes, *qa]) == 0
    pool, template = load_pool(dealt_pool), load_template("tiny")
    for split in ("train", "val"):
        rows = read(tmp_path / f"{split}.parquet")
        deals = [Deal.from_rows(row["extra_info"]["candidates"], "row") for row in rows]
        assert deals == [draw_deal(pool, 3, split, index) for index in range(len(rows))]
        for row, deal in zip(rows, deals, strict=True):
            assert row["prompt"] == render_messages(template, deal.pool(pool), row["extra_info"]["question"])


VAL_SETS = ("--val-sets", "nq:test,hotpotqa:dev")


def test_without_sets_of_its_own_validation_takes_what_training_leaves(flashrag_root, tmp_path):
    main(["data", "--out", str(tmp_path), "--qa", str(flashrag_root), "--train", "200", "--val", "40"])
    train, val = read(tmp_path / "train.parquet"), read(tmp_path / "val.parquet")
    assert len({row["extra_info"]["question"] for row in train + val}) == 240
    assert check_parquet(tmp_path / "val.parquet") == {"val"}


def test_real_questions_are_shared_evenly_and_validated_on_the_held_out_split(flashrag_root, tmp_path):
    main(["data", "--out", str(tmp_path), "--qa", str(flashrag_root), "--train", "101", "--val", "30", *VAL_SETS])
    train, val = read(tmp_path / "train.parquet"), read(tmp_path / "val.parquet")
    assert Counter(row["data_source"] for row in train) == {"nq": 51, "hotpotqa": 50}
    assert Counter(row["data_source"] for row in val) == {"nq": 15, "hotpotqa": 15}
    assert [row["extra_info"]["index"] for row in train] == list(range(101)), "GRPO groups by index over the whole file"
    assert check_parquet(tmp_path / "val.parquet") == {"val"}
    assert {row["extra_info"]["id"].split("_")[0] for row in val} == {"test", "dev"}
    assert all(row["prompt"][0]["content"].endswith("?") for row in train)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--train", "0"], "--train = 0"),
        (["--two-hop-share", "2"], "two_hop_share = 2.0"),
        (["--template", "nowhere.txt"], "nowhere.txt"),
        (["--cost-weights", "0,0.6", "--template", "SILENT"], "would be told by no prompt of template"),
        (["--pool", "nowhere.yaml"], "nowhere.yaml"),
        (["--qa", "nowhere"], "nowhere"),
        (["--qa", "ROOT", "--sets", "squad:train"], "squad:train"),
        (["--qa", "ROOT", "--sets", "nq:train,nq:train"], "twice"),
        (["--qa", "ROOT", "--sets", "nq:train", "--val-sets", "nq:train"], "cannot both train and validate"),
        (["--qa", "ROOT", "--sets", "nq"], "must be written <dataset>:<split>"),
        (["--qa", "ROOT", "--train", "200", "--val", "50"], "only 20 distinct ones are left"),
        (["--qa", "ROOT", "--train", "9999"], "only 120 distinct ones"),
    ],
)
def test_a_wrong_option_is_told_in_one_line_and_writes_nothing(flashrag_root, tmp_path, capsys, options, named):
    out = tmp_path / "out"
    silent = tmp_path / "silent.txt"
    silent.write_text("{pool_lookup}\n{question}")
    files = {"ROOT": str(flashrag_root), "SILENT": str(silent)}
    given = [files.get(option, option) for option in options]
    assert main(["data", "--out", str(out), *given]) == 2
    message = capsys.readouterr().err
    assert named in message
    assert message.count("\n") == 1
    assert not out.exists()
