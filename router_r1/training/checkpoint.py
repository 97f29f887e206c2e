"""What this project adds to a veRL checkpoint: the cost window, and a mark that the checkpoint is whole.

veRL calls the hook after actor, critic, data order and its own tracker file are written. The window's file is therefore
the last one of a checkpoint, and is written atomically: where it exists, everything else does. Resuming looks for it
rather than for veRL's tracker, which names a checkpoint before this hook ran, and which a kill can leave empty.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ray
from omegaconf import DictConfig
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback

from router_r1.atomic import write_text
from router_r1.pool import load_pool
from router_r1.runs import COST_WINDOW_FILE, checkpoints_to_keep, remove_old_checkpoints
from router_r1.training import services
from router_r1.training.adapters import merge_adapter
from router_r1.training.attention import forget_attention
from router_r1.training.configuration import route_settings
from router_r1.training.constants import ask_validation_questions
from router_r1.training.stopping import StopNotice


class CheckpointHook(CheckpointCallback):
    """veRL's `trainer.checkpoint_callback_class`: made first thing in the trainer's process, called after each save."""

    def __init__(self, config: DictConfig) -> None:
        super().__init__(config)
        self._stop = StopNotice(config)
        settings = config.router_r1
        state = None
        if config.trainer.resume_mode == "resume_path":
            state = json.loads(Path(config.trainer.resume_from_path, COST_WINDOW_FILE).read_text())
        pool = load_pool(settings.pool, base_url=settings.pool_base_url)
        self._routes, self._window = services.start(pool, route_settings(config), state)
        ask_validation_questions(config, pool, services.connect())

    def on_save(
        self, trainer: object, global_step: int, checkpoint_dir: str, async_save: bool = False, **kwargs: Any
    ) -> None:
        merge_adapter(Path(checkpoint_dir, "actor"))
        forget_attention(Path(checkpoint_dir))
        state = ray.get(self._window.state_dict.remote())
        write_text(Path(checkpoint_dir, COST_WINDOW_FILE), json.dumps(state))
        limits = self.config.trainer.max_actor_ckpt_to_keep, self.config.trainer.max_critic_ckpt_to_keep
        if keep := checkpoints_to_keep(*limits):
            remove_old_checkpoints(Path(self.config.run_dir), keep)
        self._stop.after_saving(global_step)
