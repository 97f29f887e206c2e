"""A run as a child process: how it ends is told, and Ctrl-C ends it in good order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import router_r1
from router_r1.findings.schedule import launch

_WAIT_S = 100  # on a busy machine

_SERVE = """
import sys
from pathlib import Path
from router_r1.findings.schedule import launch
launch(["sim", "serve", "--port", "0", "--port-file", sys.argv[1]], Path(sys.argv[2]))
"""


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_exit_code_of_a_command_is_told_and_its_output_kept(tmp_path):
    log = tmp_path / "logs" / "one.log"

    assert launch(["--version"], log) == 0
    assert launch(["findings", "--only", "z"], log) == 2
    lines = log.read_text().splitlines()
    assert lines[0] == router_r1.__version__
    assert "is no finding" in lines[1]


def test_ctrl_c_stops_the_run_before_it_is_passed_on(tmp_path: Path):
    port_file, log = tmp_path / "port", tmp_path / "one.log"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(port_file), str(log)], env=env, stderr=subprocess.PIPE, text=True
    )
    wait_for(port_file.exists)
    port = int(port_file.read_text())

    parent.send_signal(signal.SIGINT)
    _, error = parent.communicate(timeout=_WAIT_S)

    assert error.rstrip().endswith("KeyboardInterrupt")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the child outlived its parent"
    assert "Traceback" not in log.read_text()
