"""Child processes that never outlive their parent, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_DIE_WITH_PARENT = """
import ctypes, os, sys
parent, *command = sys.argv[1:]
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() == int(parent):
    os.execv(command[0], command)
"""
"""What a child runs first: prctl(PR_SET_PDEATHSIG, SIGTERM), so that the kernel ends it when the parent is gone, even
by kill -9 (Linux only), and then the command in its place. Code of ours between fork and exec (`preexec_fn`) would save
the second start of the interpreter, but may deadlock where there are other threads (Python's docs, `subprocess`)."""


def start(
    module: str, args: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, own_session: bool = False
) -> subprocess.Popen[bytes]:
    """Start `python -m module args` with its output appended to `log`.

    Args:
        own_session: Ctrl-C in the terminal does not reach it; whoever started it stops it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", module, *args]
    if sys.platform == "linux":
        command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
    with log.open("ab") as sink:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=own_session,
        )


def stop(process: subprocess.Popen[bytes], grace_s: float = 15.0) -> None:
    """Ask with SIGTERM, insist with SIGKILL; returns when the process is gone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def kill_all_below(pid: int) -> None:
    """Kill (-9) what a process has started, and what that has: for one that cannot end them in good order (Linux)."""
    for child in _children(pid):
        kill_all_below(child)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # ended meanwhile
            found += map(int, thread.read_text().split())
    return found
