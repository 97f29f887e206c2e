"""One training, or one benchmark of its router, with one seed: its folder, the command for it, and whether it is done.

DIR/
    runs/<training>-seed<n>/            folder of a training
    benchmarks/<benchmark>-seed<n>/     folder of a benchmark
    questions/<benchmark>-seed<n>.parquet
    pools/  logs/                       what was made for them, and what they said
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from router_r1 import runs
from router_r1.benchmark.metrics import RESULTS_FILE
from router_r1.errors import ConfigError
from router_r1.findings.reading import read_summary


@dataclass(frozen=True)
class Training:
    """What is trained, whatever the seed."""

    name: str
    overrides: tuple[str, ...] = ()
    """Beside the default experiment."""
    prepare: Callable[[Path], Sequence[str]] | None = None
    """Makes in the findings' folder what it needs beforehand, the same each time; further overrides."""
    after: Training | None = None
    """The training of the same seed whose router it goes on with; None: the default's warm start."""

    @property
    def described(self) -> str:
        made = ["with files made for it"] if self.prepare else []
        since = [f"from the router of {self.after.name}"] if self.after else []
        return " ".join([*self.overrides, *made, *since]) or "the default"


@dataclass(frozen=True)
class Benchmark:
    """What a trained router is asked afterwards."""

    name: str
    training: Training
    write_questions: Callable[[Path, Path, Path], Path]
    """(folder of the run, question file to write, the findings' folder) -> pool file that its deals are of."""

    @property
    def described(self) -> str:
        return f"benchmark of {self.training.name}"


@dataclass(frozen=True)
class Task:
    """A training or a benchmark with one seed.

    Args:
        out: the findings' folder.
        common: overrides of all trainings.
    """

    what: Training | Benchmark
    seed: int
    out: Path
    common: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.what.name}-seed{self.seed}"

    @property
    def is_training(self) -> bool:
        return isinstance(self.what, Training)

    @property
    def folder(self) -> Path:
        return self.out / ("runs" if self.is_training else "benchmarks") / self.name

    @property
    def log(self) -> Path:
        return self.out / "logs" / f"{self.name}.log"

    @property
    def before(self) -> Task | None:
        """The training that it needs."""
        needed = self.what.after if isinstance(self.what, Training) else self.what.training
        return Task(needed, self.seed, self.out, self.common) if needed else None

    @property
    def is_done(self) -> bool:
        """It has ended, by what it wrote last."""
        if self.is_training:
            return read_summary(self.folder) is not None
        return (self.folder / RESULTS_FILE).is_file()

    def arguments(self) -> list[str]:
        """What `router-r1` is called with, to begin or to go on; makes what that needs.

        Raises:
            ConfigError: the folder holds a training with other overrides.
        """
        return self._train(self.what) if isinstance(self.what, Training) else self._bench(self.what)

    def _overrides(self, what: Training) -> list[str]:
        prepared = what.prepare(self.out) if what.prepare else ()
        since = [f"router_r1.sim.warm_start={(self.before.folder / 'hf').absolute()}"] if self.before else []
        return [f"seed={self.seed}", *what.overrides, *prepared, *since, *self.common]

    def _train(self, what: Training) -> list[str]:
        where = ["train", "--runs", str(self.folder.parent), f"name={self.name}"]
        self.check()
        if (self.folder / "run.json").exists():
            return [*where, "resume=auto"]  # under the overrides that it was started with
        return [*where, *self._overrides(what)]

    def check(self) -> None:
        """See that a training that was begun is the one that is wanted.

        Raises:
            ConfigError: it has other overrides.
        """
        if not isinstance(self.what, Training) or not (self.folder / "run.json").exists():
            return
        wanted = set(self._overrides(self.what))
        written = runs.read_run_json(self.folder)["overrides"]
        begun = {override for override in written if not override.startswith("runs_dir=")}
        if begun != wanted:
            differs = ", ".join(sorted(begun ^ wanted))
            raise ConfigError(self.folder, "overrides", differs, "are not those of this command; give another --out")

    def _bench(self, what: Benchmark) -> list[str]:
        assert self.before is not None
        file = self.out / "questions" / f"{self.name}.parquet"
        pool = what.write_questions(self.before.folder, file, self.out)
        return ["bench", "--run", str(self.before.folder), "--data", str(file), "--pool", str(pool),
                "--no-constants", "--out", str(self.folder), "--resume"]  # fmt: skip
