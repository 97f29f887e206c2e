"""The trainer's own process: veRL's PPO entry point on a resolved configuration.

`python -m router_r1.training.trainer CONFIG [--check]`

Its exit code says how it ended (`ExitCode`), and `error.txt` beside the configuration says why in one line.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from router_r1.atomic import write_text
from router_r1.exit_codes import ExitCode

_EXIT_BY_ERROR = {
    "PoolUnreachable": ExitCode.POOL_UNREACHABLE,
    "BudgetSpent": ExitCode.BUDGET_SPENT,
    "StopRequested": ExitCode.PREEMPTED,
    "ConfigError": ExitCode.REFUSED,
    "DiskFull": ExitCode.DISK_FULL,
}
ERROR_FILE = "error.txt"


def main() -> int:
    parser = argparse.ArgumentParser(prog="router_r1.training.trainer")
    parser.add_argument("config", type=Path)
    parser.add_argument("--check", action="store_true", help="run veRL's own checks of the configuration and stop")
    args = parser.parse_args()
    config = OmegaConf.load(args.config)
    assert isinstance(config, DictConfig)
    error_file = args.config.with_name(ERROR_FILE)
    error_file.unlink(missing_ok=True)

    refusal = check(config)
    if refusal:
        write_text(error_file, refusal)
        return ExitCode.REFUSED
    return ExitCode.DONE if args.check else train(config, error_file)


def check(config: DictConfig) -> str:
    """What veRL itself has against the configuration, in one line; "" if nothing."""
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    try:
        validate_config(
            config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config)
        )
    except (AssertionError, ValueError, TypeError) as fault:
        return f"veRL refuses the configuration: {_one_line(fault)}"
    return ""


def train(config: DictConfig, error_file: Path) -> int:
    """Run veRL's trainer to its end; returns the exit code."""
    import ray
    from verl.trainer.main_ppo import TaskRunnerV1, run_ppo

    from router_r1.training.nodes import TaskRunnerHere

    try:
        run_ppo(config, task_runner_class=TaskRunnerHere(TaskRunnerV1, config))
    except Exception as fault:  # whatever ends the run is told to the supervisor in one line; the log has the rest
        traceback.print_exc()
        cause = fault.cause if isinstance(fault, ray.exceptions.RayTaskError) else fault
        name = type(cause).__name__
        write_text(error_file, _one_line(cause) if name == "ConfigError" else f"{name}: {_one_line(cause)}")
        return _EXIT_BY_ERROR.get(name, ExitCode.FAILED)
    finally:
        ray.shutdown()
    return ExitCode.DONE


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split())


if __name__ == "__main__":
    sys.exit(main())
