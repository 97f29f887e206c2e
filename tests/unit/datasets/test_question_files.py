import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from router_r1.datasets import (
    Question,
    check_cost_weights,
    check_parquet,
    drawn_weight,
    kind_of_question,
    list_splits,
    parquet_schema,
    question_row,
    read_questions,
    rows_from_flashrag,
    write_parquet,
)
from router_r1.errors import ConfigError
from router_r1.pool import Deal, Shown

GOOD = {"id": "test_0", "question": "who sang it", "golden_answers": ["Ada"]}


def render(question, *, deal=None, cost_weight=None):
    return [{"role": "user", "content": question}]


def jsonl(path: Path, *rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def good_rows(n):
    return [{**GOOD, "id": f"test_{i}", "question": f"who sang song number {i}"} for i in range(n)]


def make_row(index):
    item = Question(f"test_{index}", "who sang it", ("Ada", "Ada L."))
    return question_row(item, data_source="nq", split="val", index=index, messages=render("who sang it?"))


# ---------------------------------------------------------------- FlashRAG files


def test_rows_are_read_in_order_with_unknown_keys_ignored(tmp_path):
    path = jsonl(
        tmp_path / "test.jsonl", {**GOOD, "metadata": {"type": "x"}}, "", {**GOOD, "id": 7, "question": " why? "}
    )
    assert read_questions(path) == [Question("test_0", "who sang it", ("Ada",)), Question("7", "why?", ("Ada",))]


def test_only_a_newline_ends_a_row(tmp_path):
    path = jsonl(tmp_path / "test.jsonl", json.dumps({**GOOD, "question": "who\u2028sang it"}, ensure_ascii=False))
    assert read_questions(path)[0].text == "who\u2028sang it"


BAD_ROWS = {
    "no valid JSON": '{"id": ',
    "must be a JSON object": "[1]",
    "id is missing": {"question": "q", "golden_answers": ["a"]},
    "question is missing": {"id": "1", "golden_answers": ["a"]},
    "golden_answers is missing": {"id": "1", "question": "q"},
    "id must be": {**GOOD, "id": None},
    "question must be": {**GOOD, "question": "  "},
    "golden_answers must be": {**GOOD, "golden_answers": "Ada"},
    "golden_answers must be a list": {**GOOD, "golden_answers": []},
    "golden_answers must be a list of at least one non-empty": {**GOOD, "golden_answers": ["Ada", ""]},
    "holds a lone surrogate": {**GOOD, "question": "who \ud800 sang"},
}


@pytest.mark.parametrize("reason", BAD_ROWS)
def test_one_bad_row_in_many_is_left_out_and_reported_with_its_line(tmp_path, caplog, reason):
    path = jsonl(tmp_path / "test.jsonl", *good_rows(120), BAD_ROWS[reason])
    with caplog.at_level(logging.WARNING):
        assert len(read_questions(path)) == 120
    assert f"{path}:121" in caplog.text
    assert reason in caplog.text


@pytest.mark.parametrize("reason", BAD_ROWS)
def test_more_than_one_bad_row_in_a_hundred_is_refused(tmp_path, reason):
    path = jsonl(tmp_path / "test.jsonl", *good_rows(50), BAD_ROWS[reason])
    with pytest.raises(ConfigError, match=f"test.jsonl:51: {reason}.*1 of 51 rows"):
        read_questions(path)


def test_an_empty_or_unreadable_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no rows"):
        read_questions(jsonl(tmp_path / "empty.jsonl"))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_questions(tmp_path / "missing.jsonl")


def test_one_line_of_broken_utf8_does_not_spoil_the_rest(tmp_path, caplog):
    path = jsonl(tmp_path / "test.jsonl", *good_rows(120))
    path.write_bytes(path.read_bytes() + b'{"id": "\xff"}\n')
    with caplog.at_level(logging.WARNING):
        assert len(read_questions(path)) == 120
    assert f"{path}:121: no valid UTF-8" in caplog.text


def test_the_share_of_bad_rows_that_is_skipped_can_be_chosen(tmp_path):
    path = jsonl(tmp_path / "test.jsonl", *good_rows(3), "{")
    assert len(read_questions(path, max_bad_share=0.25)) == 3
    with pytest.raises(ConfigError, match=r"test.jsonl:4: .*1 of 4 rows are bad"):
        read_questions(path, max_bad_share=0.24)


def test_an_unknown_data_set_lists_what_is_there(tmp_path):
    jsonl(tmp_path / "nq/train.jsonl", GOOD)
    jsonl(tmp_path / "nq/test.jsonl", GOOD)
    jsonl(tmp_path / "popqa/test.jsonl", GOOD)
    assert list_splits(tmp_path) == {"nq": ["test", "train"], "popqa": ["test"]}
    with pytest.raises(ConfigError, match=r"popqa:train.*there are nq:test, nq:train, popqa:test"):
        rows_from_flashrag(tmp_path, "popqa", "train", 1, 0, render=render)
    with pytest.raises(ConfigError, match=r"holds no <dataset>/<split>\.jsonl"):
        rows_from_flashrag(tmp_path / "nowhere", "popqa", "train", 1, 0, render=render)


def test_a_sample_is_random_seeded_and_without_repetition(tmp_path):
    jsonl(tmp_path / "nq/train.jsonl", *good_rows(50), *good_rows(50))

    def draw(n, seed):
        rows = rows_from_flashrag(tmp_path, "nq", "train", n, seed, render=render, first_index=100)
        assert [row["extra_info"]["index"] for row in rows] == list(range(100, 100 + len(rows)))
        return [row["extra_info"]["question"] for row in rows]

    assert draw(20, 0) == draw(20, 0) == draw(30, 0)[:20]
    assert draw(20, 0) != draw(20, 1)
    assert len(set(draw(None, 0))) == len(draw(None, 0)) == 50
    with pytest.raises(ConfigError, match="number of questions = 51: only 50"):
        draw(51, 0)


def test_rows_name_what_they_serve_for(tmp_path):
    jsonl(tmp_path / "nq/dev.jsonl", *good_rows(3))
    (row,) = rows_from_flashrag(tmp_path, "nq", "dev", 1, 0, render=render, serves_as="val")
    assert row["extra_info"]["split"] == "val"
    (row,) = rows_from_flashrag(tmp_path, "nq", "dev", 1, 0, render=render)
    assert row["extra_info"]["split"] == "dev"


# ---------------------------------------------------------------- parquet


def test_rows_survive_the_round_trip(tmp_path):
    rows = [make_row(0), make_row(1)]
    write_parquet(rows, tmp_path / "new/val.parquet")
    assert pq.read_table(tmp_path / "new/val.parquet").to_pylist() == rows
    assert check_parquet(tmp_path / "new/val.parquet") == {"val"}
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["val.parquet"]


def test_a_repeated_index_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not unique"):
        write_parquet([make_row(0), make_row(0)], tmp_path / "val.parquet")
    assert not (tmp_path / "val.parquet").exists()


def test_the_kind_of_a_question_is_the_ability_of_its_row_or_else_its_data_source():
    item = Question("1", "who sang it", ("Ada",))
    shared = {"data_source": "nq", "split": "val", "index": 0, "messages": []}
    assert question_row(item, kind="music", **shared)["ability"] == "music"
    assert question_row(item, **shared)["ability"] == "qa"
    kinds = [kind_of_question(ability, "nq") for ability in ("music", "qa", "", None)]
    assert kinds == ["music", "nq", "nq", "nq"]


@pytest.mark.parametrize("column", ["data_source", "prompt", "ability", "reward_model", "extra_info"])
def test_a_missing_column_is_named(tmp_path, column):
    path = tmp_path / "val.parquet"
    pq.write_table(pa.Table.from_pylist([make_row(0)], parquet_schema()).drop([column]), path)
    with pytest.raises(ConfigError, match=f"val.parquet: {column}: is missing"):
        check_parquet(path)


def test_a_missing_field_within_a_column_is_named(tmp_path):
    row = make_row(0)
    del row["reward_model"]["ground_truth"]["target"]
    row["reward_model"]["ground_truth"]["answers"] = ["Ada"]
    path = tmp_path / "val.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    with pytest.raises(ConfigError, match=r"reward_model.ground_truth.target: is missing"):
        check_parquet(path)


def test_files_of_other_writers_pass_with_large_lists_and_further_fields(tmp_path):
    row = make_row(0)
    row["extra_info"]["note"] = "kept"
    table = pa.Table.from_pylist([{**row, "more": 1}])
    large = table.schema.field("prompt").with_type(pa.large_list(table.schema.field("prompt").type.value_type))
    path = tmp_path / "val.parquet"
    pq.write_table(table.cast(table.schema.set(table.schema.get_field_index("prompt"), large)), path)
    assert check_parquet(path) == {"val"}


def without_weights(path):
    """A file as an earlier version wrote it."""
    table = pa.Table.from_pylist([make_row(0)], parquet_schema())
    extra = table["extra_info"].combine_chunks()
    fields = [field.name for field in extra.type if field.name != "cost_weight"]
    older = pa.StructArray.from_arrays([extra.field(name) for name in fields], fields)
    pq.write_table(table.set_column(table.schema.get_field_index("extra_info"), "extra_info", older), path)
    return path


def test_a_file_of_an_earlier_version_which_has_no_cost_weights_can_be_used(tmp_path):
    path = without_weights(tmp_path / "val.parquet")
    assert "cost_weight" not in pq.read_table(path).to_pylist()[0]["extra_info"]
    assert check_parquet(path) == {"val"}


def test_rows_carry_the_weight_that_was_drawn_for_them_and_their_prompt_tells_it(tmp_path):
    jsonl(tmp_path / "nq/train.jsonl", *good_rows(9))

    def tell(question, *, deal, cost_weight):
        return render(f"{question} {cost_weight}")

    rows = rows_from_flashrag(
        tmp_path, "nq", "train", 9, 3, render=tell, first_index=100, cost_weights=(0.0, 0.6, 0.95)
    )
    write_parquet(rows, tmp_path / "train.parquet")
    check_cost_weights(tmp_path / "train.parquet")
    for index, row in enumerate(pq.read_table(tmp_path / "train.parquet").to_pylist(), start=100):
        weight = row["extra_info"]["cost_weight"]
        assert weight == drawn_weight((0.0, 0.6, 0.95), 3, index)
        assert row["prompt"][0]["content"].endswith(f" {weight}")


def test_a_row_without_a_cost_weight_is_named_with_column_and_remedy(tmp_path):
    rows = [
        {**make_row(i), "extra_info": {**make_row(i)["extra_info"], "cost_weight": w}} for i, w in ((0, 0.6), (1, None))
    ]
    write_parquet(rows, tmp_path / "val.parquet")
    for path, number in ((tmp_path / "val.parquet", 1), (without_weights(tmp_path / "old.parquet"), 0)):
        with pytest.raises(
            ConfigError, match=rf"{path.name}: row {number}: extra_info.cost_weight: has no.*--cost-weights"
        ):
            check_cost_weights(path)


@pytest.mark.parametrize("weight", [1.5, -0.1, float("nan"), "much", True])
def test_a_cost_weight_that_is_none_is_refused(tmp_path, weight):
    row = make_row(0)
    row["extra_info"]["cost_weight"] = weight
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "val.parquet")
    with pytest.raises(ConfigError, match=r"row 0: extra_info.cost_weight = .*: must be a number in \[0, 1\]"):
        check_cost_weights(tmp_path / "val.parquet")


# ---------------------------------------------------------------- deals


DEAL = Deal((Shown("Nova", "Atlas-8B"), Shown("Lyra", "Omni-72B", "film")))


def make_dealt_row(index):
    item = Question(f"test_{index}", "who sang it", ("Ada",))
    return question_row(item, data_source="nq", split="val", index=index, messages=render("who sang it?"), deal=DEAL)


def test_a_row_keeps_its_deal_and_another_has_none(tmp_path):
    path = tmp_path / "val.parquet"
    write_parquet([make_dealt_row(0), make_row(1)], path)
    dealt, whole = [row["extra_info"]["candidates"] for row in pq.read_table(path).to_pylist()]
    assert Deal.from_rows(dealt, "row 0") == DEAL
    assert whole is None
    assert check_parquet(path) == {"val"}


@pytest.mark.parametrize("left_out", [(), ("descriptor",)])
def test_a_file_without_the_column_or_without_descriptors_in_it_passes(tmp_path, left_out):
    """Files of earlier versions, and of other writers."""
    row = make_dealt_row(0)
    if left_out:
        for entry in row["extra_info"]["candidates"]:
            del entry["descriptor"]
    else:
        del row["extra_info"]["candidates"]
    path = tmp_path / "val.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    assert check_parquet(path) == {"val"}


def test_a_column_of_deals_without_the_candidates_is_refused(tmp_path):
    row = make_dealt_row(0)
    for entry in row["extra_info"]["candidates"]:
        del entry["candidate"]
    path = tmp_path / "val.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    with pytest.raises(ConfigError, match=r"extra_info\.candidates\.candidate: is missing"):
        check_parquet(path)


def test_real_questions_are_dealt_by_what_they_serve_for_and_their_place_in_the_file(tmp_path):
    jsonl(tmp_path / "nq/dev.jsonl", *good_rows(3))
    asked = []

    def deal(split, index):
        asked.append((split, index))
        return DEAL

    def render(question, *, deal, cost_weight):
        return [{"role": "user", "content": f"{deal.as_rows()[0]['name']}? {question}"}]

    rows = rows_from_flashrag(tmp_path, "nq", "dev", 3, 0, render=render, serves_as="val", first_index=7, deal=deal)
    assert asked == [("val", 7), ("val", 8), ("val", 9)]
    assert all(row["extra_info"]["candidates"] == DEAL.as_rows() for row in rows)
    assert all(row["prompt"][0]["content"].startswith("Nova?") for row in rows)


# ---------------------------------------------------------------- no question file


def test_what_is_no_question_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read as parquet"):
        check_parquet(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(ConfigError, match="cannot be read as parquet"):
        check_parquet(tmp_path / "text.parquet")
    pq.write_table(parquet_schema().empty_table(), tmp_path / "empty.parquet")
    with pytest.raises(ConfigError, match="holds no rows"):
        check_parquet(tmp_path / "empty.parquet")
