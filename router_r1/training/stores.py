"""Where checkpoints are copied to, and the process that copies one.

`python -m router_r1.training.stores RUN_DIR URL --facts | --checkpoint FOLDER [--contents policy] [--keep N]`

What lies there has the layout of a run's folder, under the run's name, so that a copy of it is one. The cost window is
the last file of a checkpoint here as well: one that was cut short is not whole. Credentials come from where the store's
own library looks for them; they are never in the address.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from router_r1.errors import ConfigError
from router_r1.printable import printable
from router_r1.runs import COST_WINDOW_FILE

HUB = "hf"
KEY = "router_r1.checkpoints.upload"
FACTS = ("run.json", "config.yaml", "data")
"""What `resume=auto` needs beside a checkpoint."""

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


class Store(Protocol):
    """Takes files, under names relative to the run's folder."""

    def put(self, run_dir: Path, files: Iterable[Path]) -> None:
        """Copy files below `run_dir`, in this order."""

    def forget_checkpoints_but(self, keep: int) -> None:
        """Remove older ones, where they cost."""


def check_address(url: str) -> None:
    """Refuse an address that no store is known for, or whose package is not installed.

    Raises:
        ConfigError: with the remedy.
    """
    scheme, _, rest = url.partition("://")
    if not rest:
        raise ConfigError("configuration", KEY, url, "is no address: s3://BUCKET/PREFIX, hf://NAMESPACE/REPOSITORY")
    if scheme == HUB:
        if len(rest.strip("/").split("/")) != 2:
            raise ConfigError("configuration", KEY, url, "must name a repository: hf://NAMESPACE/REPOSITORY")
        return
    import fsspec

    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as fault:
        package = _PACKAGES.get(scheme)
        install = f".venv/bin/python -m pip install {package}" if package else str(fault)
        raise ConfigError("configuration", KEY, url, f"its package is not installed here: {install}") from None
    except ValueError:
        raise ConfigError("configuration", KEY, url, f"no store is known for {scheme}://") from None


def open_store(url: str, run_name: str) -> Store:
    """The store at a checked address, for one run."""
    return HubStore(url, run_name) if url.startswith(f"{HUB}://") else FileStore(url, run_name)


class FileStore:
    """Whatever fsspec has a file system for: S3 and what speaks it, Google's, Azure's, a mounted folder."""

    def __init__(self, url: str, run_name: str) -> None:
        from fsspec.core import url_to_fs

        fs, root = url_to_fs(url)
        self._fs: Any = fs
        self._root = f"{root.rstrip('/')}/{run_name}"

    def put(self, run_dir: Path, files: Iterable[Path]) -> None:
        for file in files:
            there = f"{self._root}/{file.relative_to(run_dir).as_posix()}"
            if "file" in self._fs.protocol or "memory" in self._fs.protocol:  # object stores have no folders to make
                self._fs.makedirs(there.rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(file), there)

    def forget_checkpoints_but(self, keep: int) -> None:
        self._fs.invalidate_cache()
        found = self._fs.ls(f"{self._root}/checkpoints", detail=False)
        folders = {
            int(step): path for path in found if (step := path.rstrip("/").rpartition("global_step_")[2]).isdigit()
        }
        for step in sorted(folders)[:-keep]:
            self._fs.rm(folders[step], recursive=True)


class HubStore:
    """A model repository of the Hugging Face Hub, made private if it is not there; a commit for each checkpoint."""

    def __init__(self, url: str, run_name: str) -> None:
        from huggingface_hub import HfApi

        self._api, self._run_name = HfApi(), run_name
        self._repository = urlsplit(url).netloc + urlsplit(url).path.rstrip("/")
        self._api.create_repo(self._repository, private=True, exist_ok=True)

    def put(self, run_dir: Path, files: Iterable[Path]) -> None:
        from huggingface_hub import CommitOperationAdd

        names = {file: file.relative_to(run_dir).as_posix() for file in files}
        self._api.create_commit(
            self._repository,
            [CommitOperationAdd(f"{self._run_name}/{name}", file) for file, name in names.items()],
            commit_message=f"{self._run_name}: {', '.join(sorted({_top(name) for name in names.values()}))}",
        )

    def forget_checkpoints_but(self, keep: int) -> None:
        """Nothing: a repository keeps its history, so that removing a file frees no room."""


def facts_of(run_dir: Path) -> list[Path]:
    """The files beside the checkpoints that a run is resumed with."""
    return [file for name in FACTS for file in _files(run_dir / name)]


def checkpoint_files(checkpoint: Path, contents: str) -> list[Path]:
    """The files of a checkpoint in the order in which they are to be copied.

    Args:
        contents: `all`, or `policy` for the model in Hugging Face format.
    """
    if contents == "policy":
        return _files(checkpoint / "actor" / "huggingface")
    window = checkpoint / COST_WINDOW_FILE
    return [*(file for file in _files(checkpoint) if file != window), window]


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def _top(name: str) -> str:
    """`checkpoints/global_step_4` of a file in it; else the name."""
    parts = name.split("/")
    return "/".join(parts[:2]) if parts[0] == "checkpoints" else parts[0]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="router_r1.training.stores")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("url")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--facts", action="store_true")
    what.add_argument("--checkpoint", type=Path)
    parser.add_argument("--contents", choices=("all", "policy"), default="all")
    parser.add_argument("--keep", type=int)
    args = parser.parse_args(arguments)
    run_dir: Path = args.run_dir
    try:
        store = open_store(args.url, run_dir.name)
        if args.facts:
            store.put(run_dir, facts_of(run_dir))
            return 0
        store.put(run_dir, checkpoint_files(args.checkpoint, args.contents))
        if args.keep:
            store.forget_checkpoints_but(args.keep)
    except Exception as fault:  # each store's library has errors of its own; the last line is told to the user
        words = " ".join(str(fault).split())
        print(printable(f"{type(fault).__name__}: {words}"), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
