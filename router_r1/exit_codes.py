"""How a command ends: the exit codes of everything here that can be started from a shell."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit code of a command."""

    DONE = 0
    FAILED = 1  # engine, policy endpoint, pool server or trainer; the error says what happened
    REFUSED = 2  # something the user wrote is wrong
    POOL_UNREACHABLE = 3  # too many routes of a training step failed
    BUDGET_SPENT = 4
    DISK_FULL = 5  # the next checkpoint of a training would not fit
    PREEMPTED = 75  # SIGTERM: a training has saved, start it again with resume=auto (EX_TEMPFAIL of sysexits.h)
    INTERRUPTED = 130  # Ctrl-C
