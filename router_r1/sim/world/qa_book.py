"""Real questions for the simulated candidates: FlashRAG files, looked up by their text (`datasets.nearest`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from router_r1.datasets import Question, QuestionIndex, list_splits, normalise_question, read_questions
from router_r1.errors import ConfigError
from router_r1.sim.world.candidates import PROFILES, Known, Profile
from router_r1.sim.world.facts import DOMAINS, digest

HOME_DOMAINS: dict[str, str] = {
    "nq": "history",
    "triviaqa": "film",
    "popqa": "music",
    "hotpotqa": "geography",
    "2wikimultihopqa": "sport",
    "musique": "science",
}
"""Data set -> the domain whose specialist knows it (0.95 of it; the other specialists 0.15, and so on as for any
single-hop fact of that domain). The choice carries no meaning: it gives each data set another best candidate."""

SkillOverrides = Mapping[tuple[str, str], float]
"""(data set, candidate) -> probability of a right answer, instead of the default above."""


def home_domain(dataset: str) -> str:
    """The domain a data set is counted to; for one not in `HOME_DOMAINS`, some domain, always the same."""
    return HOME_DOMAINS.get(dataset) or DOMAINS[digest("home", dataset) % len(DOMAINS)]


def find_files(paths: Iterable[str | Path]) -> list[Path]:
    """The JSONL files that `paths` mean: files, data set folders, or roots of `<dataset>/<split>.jsonl`.

    Raises:
        ConfigError: a path does not exist or holds no such file.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        found = [path] if path.is_file() else sorted(path.glob("*.jsonl"))
        found = found or [
            path / name / f"{split}.jsonl" for name, splits in list_splits(path).items() for split in splits
        ]
        if not found:
            raise ConfigError(
                "--qa", "", str(path), "is no JSONL file and holds none; give FILE or ROOT/<dataset>/<split>.jsonl"
            )
        files += found
    return files


@dataclass(frozen=True)
class _Entry:
    dataset: str
    item: Question


class QaBook:
    """A `QuestionSource` of real questions. The data set of a file is the name of the folder it is in.

    Args:
        files: FlashRAG-layout JSONL files. A question that occurs in several keeps its first golden answers.
        skills: who knows how much of which data set, where it differs from the default.

    Raises:
        ConfigError: a file is bad (`read_questions`), or `skills` names an unknown data set or candidate.
    """

    def __init__(self, files: Sequence[str | Path], skills: SkillOverrides | None = None) -> None:
        self._entries: dict[str, _Entry] = {}
        for file in map(Path, files):
            dataset = file.resolve().parent.name
            for item in read_questions(file):
                self._entries.setdefault(normalise_question(item.text), _Entry(dataset, item))
        self._answers: dict[str, list[str]] = defaultdict(list)
        for entry in self._entries.values():
            self._answers[entry.dataset].append(entry.item.golden_answers[0])
        self._skills = dict(skills or {})
        self._check_skills()
        self._index = QuestionIndex(self._entries)

    @property
    def datasets(self) -> tuple[str, ...]:
        return tuple(sorted(self._answers))

    def __len__(self) -> int:
        return len(self._entries)

    def _check_skills(self) -> None:
        for (dataset, candidate), skill in self._skills.items():
            if dataset not in self._answers:
                raise ConfigError(
                    "--qa-skill", "data set", dataset, f"is not loaded; there are {', '.join(self.datasets)}"
                )
            if candidate not in PROFILES:
                raise ConfigError("--qa-skill", "candidate", candidate, f"must be one of {', '.join(PROFILES)}")
            if not 0 <= skill <= 1:
                raise ConfigError("--qa-skill", f"{dataset}:{candidate}", skill, "must be between 0 and 1")

    def skill(self, profile: Profile, dataset: str) -> float:
        """Probability that the candidate answers a question of the data set rightly."""
        return self._skills.get((dataset, profile.name), profile.knows_share(home_domain(dataset)))

    def find(self, query: str) -> Known | None:
        text = self._index.find(normalise_question(query))
        if text is None:
            return None
        entry = self._entries[text]
        return Known(
            key=text,
            answer=entry.item.golden_answers[0],
            skill=lambda profile: self.skill(profile, entry.dataset),
            wrong=lambda draw: self._wrong_answer(entry, draw),
        )

    def _wrong_answer(self, entry: _Entry, draw: int) -> str:
        """The answer to another question of the data set; the next one on if it happens to be right here as well."""
        answers = self._answers[entry.dataset]
        right = {normalise_question(answer) for answer in entry.item.golden_answers}
        for offset in range(len(answers)):
            answer = answers[(draw + offset) % len(answers)]
            if normalise_question(answer) not in right:
                return answer
        return "unknown"
