"""Child processes of child processes end with whoever is to end them."""

from __future__ import annotations

import subprocess
import sys

from router_r1 import processes

# The child tells that it is there; only the child holds the pipe, so that its end is the pipe's.
PARENT = """
import os, subprocess, sys, time
command = "import time; print('here', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", command])
os.close(1)
time.sleep(600)
"""


def test_all_below_a_process_are_killed_and_itself_is_not():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        try:
            assert parent.stdout.readline() == b"here\n"
            processes.kill_all_below(parent.pid)
            assert parent.stdout.read() == b"", "the child is gone"
            assert parent.poll() is None
        finally:
            parent.kill()
