"""A process of `router-r1 sft`: veRL's SFT trainer on a resolved configuration, one for each device.

`python -m torch.distributed.run --nproc-per-node N -m router_r1.training.sft_process CONFIG`

What is wrong with the questions is written to `error.txt` beside the configuration, in one line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import Dataset

from router_r1.atomic import write_text
from router_r1.errors import ConfigError
from router_r1.exit_codes import ExitCode
from router_r1.methods.first_turns import ANSWER_AT_ONCE
from router_r1.protocol import ANSWER, neutralise, render_answer
from router_r1.rollout.tokens import encode_prompt
from router_r1.training.trainer import ERROR_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class AnsweredQuestions(Dataset):
    """Prompts of question files with the turn that answers each at once, encoded as the loop encodes them for Direct.

    Items are `input_ids`, `position_ids` and `loss_mask` (1 where the turn stands), each [length of prompt and turn].
    veRL calls it by `data.custom_cls`.

    Args:
        parquet_files: question files.
        config: veRL's `data`.

    Raises:
        ConfigError: a row without a golden answer, or one that is longer than `data.max_length`.
    """

    def __init__(
        self,
        parquet_files: str | Sequence[str],
        tokenizer: PreTrainedTokenizerBase,
        config: DictConfig,
        processor: Any = None,
        max_samples: int = -1,
    ) -> None:
        files = [parquet_files] if isinstance(parquet_files, str) else list(parquet_files)
        rows = [(f"{file}: row {number}", row) for file in files for number, row in enumerate(_rows(file))]
        taken = rows[:max_samples] if max_samples > 0 else rows
        self._items = [_item(tokenizer, row, place, config.max_length) for place, row in taken]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        prompt, turn = self._items[index]
        length = len(prompt) + len(turn)
        return {
            "input_ids": torch.tensor([*prompt, *turn]),
            "position_ids": torch.arange(length),
            "loss_mask": torch.tensor([0] * len(prompt) + [1] * len(turn)),
        }


def _rows(file: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(file, columns=["prompt", "reward_model"]).to_pylist()
    return rows


def _item(
    tokenizer: PreTrainedTokenizerBase, row: dict[str, Any], place: str, max_length: int
) -> tuple[list[int], list[int]]:
    """Ids of the prompt and of the turn."""
    golden = row["reward_model"]["ground_truth"]["target"]
    if not golden:
        raise ConfigError(place, "reward_model.ground_truth.target", golden, "must hold at least one golden answer")
    prompt, turn = encode_prompt(tokenizer, row["prompt"]), answering_turn(tokenizer, golden[0])
    if (length := len(prompt) + len(turn)) > max_length:
        remedy = f"has {length} tokens with its answer, over data.max_length={max_length}; raise it"
        raise ConfigError(place, "prompt", None, remedy)
    return prompt, turn


def answering_turn(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """What Direct begins and the policy ends: ids of an empty thought and the answer, encoded in these two parts."""
    rest = render_answer(neutralise(answer)).removeprefix(f"<{ANSWER}>")
    parts = (ANSWER_AT_ONCE.text, rest)
    return [token for part in parts for token in tokenizer.encode(part, add_special_tokens=False)]


def main() -> int:
    file = Path(sys.argv[1])
    config = OmegaConf.load(file)
    assert isinstance(config, DictConfig)
    try:
        _train(config)
    except ConfigError as fault:
        if os.environ.get("RANK", "0") == "0":
            write_text(file.with_name(ERROR_FILE), str(fault))
        return ExitCode.REFUSED
    return ExitCode.DONE


def _train(config: DictConfig) -> None:
    """`verl.trainer.sft_trainer.run_sft`, but that a training which goes on from the end of an epoch ends complete.

    The data loader that is restored there is at its end, so that veRL's next epoch is an empty one.
    """
    import verl.utils.distributed as distributed
    from verl.trainer.sft_trainer import SFTTrainer

    distributed.initialize_global_process_group()
    trainer = SFTTrainer(config=config)
    if trainer.resume_global_step and trainer.resume_global_step % trainer.steps_per_epoch == 0:
        config.trainer.total_epochs += 1
    trainer.fit()
    distributed.destroy_global_process_group()


if __name__ == "__main__":
    sys.exit(main())
