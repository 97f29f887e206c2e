"""Which folder is the policy, whatever folder was named: a Hugging Face model, a run, or a checkpoint of veRL.

veRL keeps `global_step_N/actor/huggingface` (configuration, tokenizer and, if it was told to, weights) beside the
sharded weights it trains on. Where there are shards only, veRL's own tool merges them, once, into `actor/merged`, in
bfloat16 whatever they were trained in.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from router_r1 import runs
from router_r1.errors import ConfigError
from router_r1.rollout.model_folder import check_model_path

_WEIGHTS = ("*.safetensors", "*.bin")


def find_policy(source: str, key: str, path: str) -> str:
    """The Hugging Face folder that `path` means; a hub id stays what it is.

    Args:
        source: where the path was given, for the error.
        key: under which name.

    Raises:
        ConfigError: there is no policy.
    """
    folder = Path(path).expanduser()
    if (folder / "config.json").is_file() or not folder.is_dir():
        check_model_path(source, key, path)
        return path
    inside = _inside(folder)
    if inside is None:
        remedy = "holds no policy; give a Hugging Face folder, a run, or veRL's global_step_N"
        raise ConfigError(source, key, path, remedy)
    check_model_path(source, key, inside)
    if not _has_weights(inside) and not _shards(inside):
        raise ConfigError(source, key, str(inside), "holds neither weights nor shards to merge them from")
    return str(inside)


def _inside(folder: Path) -> Path | None:
    if (folder / "run.json").is_file():
        return newest_policy(folder)
    for actor in (folder, folder / "actor"):
        if (actor / "huggingface").is_dir():
            return (actor / "huggingface").resolve()
    steps = {
        int(found[1]): step
        for step in folder.glob("global_step_*")
        if (found := re.fullmatch(r"global_step_(\d+)", step.name)) and (step / "actor" / "huggingface").is_dir()
    }
    return (steps[max(steps)] / "actor" / "huggingface").resolve() if steps else None


def newest_policy(run_dir: Path) -> Path | None:
    """The newest policy of a run; None if there is none yet."""
    checkpoint = runs.latest_checkpoint(run_dir)
    folder = checkpoint / "actor" / "huggingface" if checkpoint else run_dir / "hf"
    return folder.resolve() if folder.is_dir() else None


def with_weights(path: str) -> str:
    """The policy in a form an engine can load: itself, or merged from veRL's shards beside it. May take minutes.

    Raises:
        RuntimeError: veRL could not merge them.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir() or _has_weights(folder) or not _shards(folder):
        return path
    actor = folder.parent
    merged = actor / "merged"
    if not merged.is_dir():
        print(f"merging the shards in {actor}", file=sys.stderr)
        unfinished = Path(tempfile.mkdtemp(dir=actor, prefix=".merged."))
        command = ["verl.model_merger", "merge", "--backend", "fsdp", "--local_dir", str(actor)]
        done = subprocess.run(
            [sys.executable, "-m", *command, "--target_dir", str(unfinished)], capture_output=True, text=True
        )
        if done.returncode or not _has_weights(unfinished):
            shutil.rmtree(unfinished)
            told = (done.stderr.strip() or "it wrote no weights").splitlines()[-1]
            raise RuntimeError(f"veRL could not merge the shards in {actor}: {told}")
        os.replace(unfinished, merged)
    return str(merged)


def _has_weights(folder: Path) -> bool:
    return any(next(folder.glob(pattern), None) for pattern in _WEIGHTS)


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.parent.glob("model_world_size_*_rank_*.pt"))
