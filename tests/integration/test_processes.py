"""Child processes of child processes end with whoever is to end them."""

from __future__ import annotations

import subprocess
import sys

from router_r1 import processes

# Starts a child, which starts another; the last tells that it is there, and alone holds the pipe, whose end is its own.
TREE = """
import os, subprocess, sys, time
generations = int(sys.argv[1])
if generations:
    child = subprocess.Popen([sys.executable, "-c", sys.argv[2], str(generations - 1), sys.argv[2]])
    os.close(1)
else:
    print("here", flush=True)
time.sleep(600)
"""


def test_all_below_a_process_are_killed_and_itself_is_not():
    with subprocess.Popen([sys.executable, "-c", TREE, "2", TREE], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        try:
            assert parent.stdout.readline() == b"here\n"
            processes.kill_all_below(parent.pid)
            assert parent.stdout.read() == b"", "the last one is gone"
            assert parent.poll() is None
        finally:
            parent.kill()
