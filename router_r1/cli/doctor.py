"""`router-r1 doctor`: whether this machine, or a cluster, has what a training needs."""

from __future__ import annotations

from pathlib import Path

from router_r1.cli.running import exit_code_of, results_only
from router_r1.exit_codes import ExitCode


def doctor(
    *,
    pool: str | None = None,
    model: str | None = None,
    runs: Path = Path("runs"),
    ray_address: str | None = None,
    quick: bool = False,
    ask_candidates: bool = False,
    json: bool = False,
) -> int:
    """See what this machine, or a cluster, has for a training, and what to do about what it lacks.

    Checked: system, GPUs and driver, disk, memory, /dev/shm, CPUs, open files, packages, kernels, all-reduce and
    weights between processes, hub token, and of a pool its keys and limits. Nothing is changed, and no secret is shown.
    The exit code is 1 if something fails.

    Parameters
    ----------
    pool
        Also look at this pool's keys and limits: a name under configs/pools, or a file.
    model
        Hub id that you mean to train; a gated one wants a token.
    runs
        Folder for the runs: is there room, and in a cluster, does every node see it?
    ray_address
        Look at every node of this cluster (default: RAY_ADDRESS, if it is set).
    quick
        Leave out what starts processes: kernels, all-reduce, weights.
    ask_candidates
        Ask every candidate of the pool for one word; costs some tokens.
    json
        Print one JSON report, to be attached to an issue.
    """
    codes: list[int] = []

    def run() -> None:
        from router_r1.doctor.check import Status
        from router_r1.doctor.checkup import checkup
        from router_r1.doctor.report import as_json, as_lines

        with results_only() as out:
            checks = checkup(pool, model, runs, ray_address, quick=quick, ask_candidates=ask_candidates)
            print(as_json(checks) if json else "\n".join(as_lines(checks)), file=out)
        if any(check.status is Status.FAILURE for check in checks):
            codes.append(ExitCode.FAILED)

    return exit_code_of(run) or (codes[0] if codes else ExitCode.DONE)
