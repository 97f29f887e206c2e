"""The seven benchmarks from question files to the report, in one go."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from router_r1.benchmark.records import read_records
from router_r1.datasets import FlashragFolder
from router_r1.datasets.selection import BENCHMARKS
from router_r1.datasets.source import held_out_split
from router_r1.rewards.outcome import exact_match
from router_r1.sim.tiny_policy import SHIPPED_POLICY
from tests.doubles.commands import bench as main
from tests.doubles.commands import data_benchmarks

PER_SET = 5


@pytest.fixture(scope="module")
def root(project_root, tmp_path_factory) -> Path:
    """The real sample beside the project; where it is not there, a small folder of the same layout."""
    sample = project_root.parent / "shared" / "data" / "flashrag_sample"
    if sample.is_dir():
        return sample
    made = tmp_path_factory.mktemp("flashrag")
    for number, name in enumerate(BENCHMARKS):
        (made / name).mkdir()
        split = "dev" if number % 2 else "test"
        rows = [
            {
                "id": f"{split}_{i}",
                "question": f"which {name} river is number {i}",
                "golden_answers": [f"Rhine{i}", "x"],
            }
            for i in range(20)
        ]
        (made / name / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


@pytest.fixture
def files(root, tmp_path):
    """One test file per data set, with the prompts of `pool`."""

    def make(pool: Path) -> list[str]:
        options = ["--data_root", str(root), "--model", "tiny", "--pool", str(pool), "--n", str(PER_SET)]
        assert data_benchmarks([*options, "--out", str(tmp_path / "data")]) == 0
        return [str(tmp_path / "data" / f"test_{name}_tiny.parquet") for name in BENCHMARKS]

    return make


def check(folder: Path, out: str) -> None:
    """Each data set has its EM, in the files, on the terminal and in the report."""
    results = json.loads((folder / "results.json").read_text())
    assert set(results["datasets"]) == set(BENCHMARKS)
    assert all(row["n"] == PER_SET for row in results["datasets"].values()), "no row is lost"
    records = read_records(folder / "trajectories.jsonl")
    page = (folder / "report.html").read_text()
    for name, row in results["datasets"].items():
        own = [r for r in records if r["data_source"] == name]
        assert row["em"] == pytest.approx(sum(exact_match(r["answer"], r["golden_answers"]) for r in own) / PER_SET)
        assert f"<h3>{name}</h3>" in page
    assert results["mean"]["em"] == pytest.approx(sum(r["em"] for r in results["datasets"].values()) / len(BENCHMARKS))
    for heading in ("general", "multi-hop", "nq", "triviaqa", "popqa", "hotpot", "2wiki", "musique", "bamb", "mean"):
        assert heading in out
    for picture in ("em", "em_cost", "routes", "shares"):
        assert (folder / f"{picture}.png").exists()


@pytest.mark.slow
def test_against_a_served_policy(files, root, policy, pool_file, candidates, tmp_path, capfd):
    reader = FlashragFolder(root)
    for name in BENCHMARKS:  # candidates that know every other answer
        for item in reader.read(name, held_out_split(reader, name)).items[::2]:
            candidates.replies[item.text] = f"It is {item.golden_answers[0]}."
    data = files(pool_file)
    capfd.readouterr()
    named = ["--base_url", policy.url, "--pool", str(pool_file), "--model_path", policy.models["data"][0]["root"]]
    assert main([*named, "--data", *data, "--out", str(tmp_path / "out")]) == 0
    check(tmp_path / "out", capfd.readouterr().out)


@pytest.mark.slow
def test_with_the_shipped_policy_its_engine_and_the_simulated_pool(files, root, project_root, tmp_path):
    pool = project_root / "configs" / "pools" / "sim.yaml"
    command = ["-m", "router_r1", "bench", "--model_path", SHIPPED_POLICY, "--pool", pool, "--sim_qa", root]
    done = subprocess.run(
        [sys.executable, *map(str, command), "--data", *files(pool), "--out", str(tmp_path / "out")],
        cwd=project_root,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    check(tmp_path / "out", done.stdout)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["mean"]["routes"] > 0
