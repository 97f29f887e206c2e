"""A file of scores in a few lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from router_r1.constant_routers import constant_routers, oracle, oracle_by_kind
from router_r1.scores.files import read_samples, read_score_provenance
from router_r1.scores.samples import table_of


def summary(file: Path) -> str:
    """Questions, candidates with mean score and costs, the best constant, the oracles, and how the file was come by.

    A candidate's means are over all questions; the best constant and the oracles choose among what a question offers.

    Raises:
        ConfigError: it is no file of scores that can be judged by.
    """
    checked, facts = read_samples(file), read_score_provenance(file)
    table = table_of(checked, file)
    sources = dict.fromkeys(question.data_source for question in table.questions)
    num_samples = max(sample.sample for sample in checked.samples) + 1
    with_replies = sum(sample.reply is not None for sample in checked.samples)
    failed = sum(sample.failed for sample in checked.samples)
    metrics = dict.fromkeys(sample.metric for sample in checked.samples)
    lines = [
        f"{file}: {len(table):,} questions of {len(sources)} data sets, {len(table.candidates)} candidates, "
        f"{num_samples} sample(s) each; {with_replies:,} replies, {failed:,} failed",
        f"score: {', '.join(metrics)}",
        "",
    ]
    width = max(map(len, table.candidates), default=0)
    lines.append(f"{'candidate':{width}}  score  raw cost  USD/1k  offered")
    for column in np.argsort(-table.score.mean(axis=0), kind="stable"):
        lines.append(
            f"{table.candidates[column]:{width}}  {table.score[:, column].mean():.3f}  "
            f"{table.raw_cost[:, column].mean():8.4g}  {1000 * table.spend_usd[:, column].mean():6.3g}  "
            f"{table.offered[:, column].mean():7.1%}"
        )
    constants = table.as_candidate_table()
    best, by_source = oracle(constants), oracle_by_kind(constants)
    constant = max(constant_routers(constants), key=lambda one: (one.em, -one.raw_cost))
    named = constant.name if table.offered.all() else f"the first offered of {', '.join(constant.order[:3])}, ..."
    lines += [
        "",
        f"best constant: {named}, score {constant.em:.3f}, raw cost {constant.raw_cost:.4g}",
        f"best for each data set: score {by_source.em:.3f}, raw cost {by_source.raw_cost:.4g}",
        f"oracle: score {best.em:.3f}, raw cost {best.raw_cost:.4g}",
        "",
        f"from: {facts.get('source', 'unknown')} {', '.join(facts.get('files', ()))}".rstrip(),
    ]
    lines += [f"assumed: {rule}" for rule in facts.get("assumptions", ())]
    return "\n".join(lines)
