r"""A data set of your own: here, one in CSV files with the columns `question` and `answers` (several, separated by |).

    router-r1 data train --source examples/own_dataset.py:CsvFolder --data-root data/my_csv \
        --data-sources people --model tiny

reads `data/my_csv/people/train.csv` and writes a question file to train on; `data validation` reads `test.csv` for one
to validate on. docs/extending.md says how to train on them. `python examples/own_dataset.py` makes such a folder to try
it with: questions of the simulated world.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from router_r1.datasets import Questions, questions_of_rows
from router_r1.sim.world.facts import ONE_HOP, World


class CsvFolder:
    """Data sets as `DATA_ROOT/<data set>/<split>.csv`. A source asks by name for what it needs; here, the folder."""

    def __init__(self, data_root: str) -> None:
        self.root = Path(data_root)

    def __str__(self) -> str:
        return str(self.root)

    def splits(self, dataset: str) -> list[str]:
        """The splits that there are; none of a data set that is not there."""
        return sorted(file.stem for file in self.root.glob(f"{dataset}/*.csv"))

    def read(self, dataset: str, split: str, *, max_bad_share: float) -> Questions:
        """All questions of a split. Rows that cannot be used are told, and left out if they are few."""
        return questions_of_rows(self._rows(self.root / dataset / f"{split}.csv"), self.root, max_bad_share)

    def _rows(self, file: Path) -> Iterator[tuple[str, object]]:
        """(place for error texts, row) of every line."""
        with file.open(newline="", encoding="utf-8") as lines:
            for number, row in enumerate(csv.DictReader(lines)):
                answers = [answer.strip() for answer in (row["answers"] or "").split("|")]
                yield f"{file}: row {number}", {"id": number, "question": row["question"], "golden_answers": answers}


def write_sample(root: Path) -> None:
    """A few hundred questions that the simulated candidates know."""
    world = World(seed=0)
    for split, count in (("train", 256), ("test", 64)):
        file = root / "people" / f"{split}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", newline="", encoding="utf-8") as lines:
            rows = csv.writer(lines)
            rows.writerow(["question", "answers"])
            rows.writerows((q.text, "|".join(q.golden_answers)) for q in world.generate(split, count, shares=ONE_HOP))
        print(file)


if __name__ == "__main__":
    write_sample(Path("data/my_csv"))
