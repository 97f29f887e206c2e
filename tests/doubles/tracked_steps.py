"""`python -m tests.doubles.tracked_steps CONFIG STEP...`: trackers are told of steps, and nothing is trained.

In the order of veRL 0.9.1's `PPOTrainer.fit`. A process of its own, as a trainer is: W&B keeps what it once read of the
environment.
"""

from __future__ import annotations

import sys

from omegaconf import OmegaConf
from verl.utils.tracking import Tracking, ValidationGenerationsLogger

SHARES = {"train/candidate/Nova": 0.75, "train/candidate/Vega": 0.25}
SAMPLE = ["Who directed Solaris?", "<search> Nova: who? </search>", 1.0]


def main(file: str, *steps: str) -> None:
    config = OmegaConf.load(file)
    loggers = list(config.trainer.logger)
    names = {"project_name": config.trainer.project_name, "experiment_name": config.trainer.experiment_name}
    tracking = Tracking(**names, default_backend=loggers, config=OmegaConf.to_container(config, resolve=True))
    tables = ValidationGenerationsLogger(**names)
    for step in map(int, steps):
        tables.log(loggers, [SAMPLE] * config.trainer.log_val_generations, step)
        tracking.log({"train/reward": step / 4, **SHARES}, step)
    tracking.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
