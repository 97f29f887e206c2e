"""Child processes end with their parent, and child processes of child processes with whoever is to end them."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

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


# Starts a child that would stay, tells its pid, and stays.
PARENT = """
import os, sys, threading, time
from pathlib import Path
from router_r1 import processes
def start():
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    child = processes.start("http.server", ["0", "--bind", "127.0.0.1"], log=Path(sys.argv[1]), env=env)
    print(child.pid, flush=True)
    time.sleep(600)
threading.Thread(target=start).start()
"""


def until_served(log):
    deadline = time.monotonic() + 60
    while "Serving HTTP" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel tells a child that its parent is gone")
def test_a_child_ends_with_a_parent_that_is_killed(tmp_path):
    log = tmp_path / "child.log"
    with subprocess.Popen([sys.executable, "-c", PARENT, log], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        try:
            until_served(log)
            assert child.cmdline()[1:] == ["-m", "http.server", "0", "--bind", "127.0.0.1"], "nothing stands around it"
            parent.kill()
            parent.wait()
            child.wait(60)
        finally:
            if child.is_running():
                child.kill()


def test_a_module_that_is_not_there_ends_the_child_with_its_words_in_the_log(tmp_path):
    log = tmp_path / "child.log"
    assert processes.start("no_such_module", [], log=log).wait(60) == 1
    assert "No module named no_such_module" in log.read_text()
