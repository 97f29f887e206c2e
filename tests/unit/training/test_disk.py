"""Room for a checkpoint: looked for before the step, made by dropping what is to go, or the run ends with a code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from router_r1 import runs
from router_r1.exit_codes import ExitCode
from router_r1.training import trainer
from router_r1.training.disk import DiskFull, is_saved, make_room, size_of

MORE_THAN_ANY_DISK = 10**18


def checkpoint(run_dir: Path, step: int, apparent_bytes: int = 10) -> Path:
    """Whole, with a sparse file: it looks as large as it is said to be, and takes no room."""
    folder = run_dir / "checkpoints" / f"global_step_{step}"
    (folder / "actor" / "huggingface").mkdir(parents=True)
    with (folder / "actor" / "model.pt").open("wb") as file:
        os.truncate(file.fileno(), apparent_bytes)
    (folder / runs.COST_WINDOW_FILE).touch()
    return folder


def more_than_free(folder: Path) -> int:
    """Bytes, within what one file may have."""
    free = os.statvfs(folder)
    return free.f_bavail * free.f_frsize + 10**9


def test_the_last_step_and_every_so_many_are_saved():
    assert [s for s in range(1, 8) if is_saved(s, save_freq=3, last_step=7)] == [3, 6, 7]
    assert [s for s in range(1, 8) if is_saved(s, save_freq=3, last_step=None)] == [3, 6]
    assert not is_saved(7, save_freq=-1, last_step=7)


def test_a_checkpoint_that_fits_is_let_through_and_nothing_is_removed(tmp_path):
    kept = [checkpoint(tmp_path, 2), checkpoint(tmp_path, 4)]

    make_room(tmp_path, step=6, planned_bytes=MORE_THAN_ANY_DISK, keep=2)

    assert all(folder.is_dir() for folder in kept), "the last checkpoint tells the size, not the plan"


def test_the_first_is_as_large_as_planned_or_let_through_if_that_is_not_known(tmp_path):
    with pytest.raises(DiskFull, match=r"GB free, and the checkpoint of step 2 needs 1000000000\.0 GB.*resume=auto"):
        make_room(tmp_path, step=2, planned_bytes=MORE_THAN_ANY_DISK, keep=2)
    make_room(tmp_path, step=2, planned_bytes=None, keep=2)


def test_one_that_cannot_fit_is_refused_and_the_newest_stays_whole(tmp_path):
    old, newest = checkpoint(tmp_path, 2), checkpoint(tmp_path, 4, more_than_free(tmp_path))

    with pytest.raises(DiskFull, match=r"nothing was written"):
        make_room(tmp_path, step=6, planned_bytes=None, keep=2)

    assert runs.latest_checkpoint(tmp_path) == newest
    assert not old.exists(), "it was to go before the save anyway"


def test_where_all_are_kept_none_is_dropped_for_another(tmp_path):
    old = checkpoint(tmp_path, 2)
    checkpoint(tmp_path, 4, more_than_free(tmp_path))
    for keep in (None, 1):
        with pytest.raises(DiskFull):
            make_room(tmp_path, step=6, planned_bytes=None, keep=keep)
    assert old.is_dir()


def test_the_size_is_that_of_all_files(tmp_path):
    assert size_of(checkpoint(tmp_path, 2, 1234)) == 1234


def test_the_end_has_an_exit_code_of_its_own():
    assert trainer._EXIT_BY_ERROR[DiskFull.__name__] == ExitCode.DISK_FULL == 5
