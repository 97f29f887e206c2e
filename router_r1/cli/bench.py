"""`router-r1 bench`, which `bash test.sh` calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from router_r1.benchmark.runner import Benchmark
from router_r1.benchmark.tables import console_for, sheets, show
from router_r1.cli.contest import bench_methods
from router_r1.cli.offline import Compared, bench_scores
from router_r1.cli.options import Candidates, Policy, Routing, SkipPreflight, router_options
from router_r1.cli.running import exit_code_of, how_to_resume, results_only
from router_r1.offline.options import ComparisonOptions
from router_r1.routing.config import RoutingConfig
from router_r1.settings import CandidateOptions, PolicyOptions


def bench(
    *,
    data: tuple[str, ...] = (),
    out: Path | None = None,
    resume: bool = False,
    limit: int | None = None,
    n_samples: Annotated[int, Parameter(name=["--n", "--n-samples"])] = 1,
    skip_preflight: SkipPreflight = False,
    constants: Annotated[bool | None, Parameter(negative="--no-constants")] = None,
    policy: Policy = PolicyOptions(),
    candidates: Candidates = CandidateOptions(),
    routing: Routing = RoutingConfig(),
    compared: Compared = ComparisonOptions(),
) -> int:
    """Benchmark a trained router, or another method, on test sets: EM, F1, cost and routes; greedy by default. With
    --scores, compare fitted routers on recorded scores alone.

    Parameters
    ----------
    data
        Question files, parquet (default: the run's own).
    out
        Folder for the results (default: results/<name>-<time>).
    resume
        Go on with the unfinished benchmark in --out.
    limit
        At most so many questions of each data set.
    n_samples
        Trajectories per question.
    skip_preflight
        Start without asking every candidate of the pool a word first.
    constants
        Ask every candidate every question too, and tell the router beside the best of them at equal cost (default: for
        simulated candidates; real ones cost questions x candidates routes).
    """
    if compared.model_fields_set:
        names_candidates = bool(data or policy.model_fields_set or candidates.model_fields_set)
        if compared.scores is not None and not names_candidates:
            return bench_scores(compared, out=out, resume=resume)
        return bench_methods(
            router_options(policy, candidates, routing),
            compared,
            data=data,
            out=out,
            resume=resume,
            limit=limit,
            n_samples=n_samples,
            skip_preflight=skip_preflight,
            constants=constants,
        )
    folder: list[Path] = [out] if out else []

    def run() -> None:
        options = router_options(policy, candidates, routing)
        benchmark = Benchmark(
            options,
            data=data,
            out=out,
            resume=resume,
            limit=limit,
            n_samples=n_samples,
            skip_preflight=skip_preflight,
            constants=constants,
        )
        folder[:] = [benchmark.folder]
        with results_only() as to:
            results = benchmark.run()
            show(console_for(to), sheets(results))
            for note in benchmark.notes:
                print(f"note: {note}", file=to)
            print(f"results: {benchmark.folder}\nreport: {benchmark.folder / 'report.html'}", file=to)

    return exit_code_of(run, how_to_go_on=lambda: how_to_resume(folder))
