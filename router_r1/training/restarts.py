"""Start a training again when it fails: a machine that loses a GPU, an engine that dies, a pool that was away.

Every start goes on from the newest checkpoint. As long as there is a new one after each failure it may go on for ever;
a run that fails again and again at the same place is given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from router_r1.exit_codes import ExitCode

WORTH_ANOTHER_TRY = (ExitCode.FAILED, ExitCode.POOL_UNREACHABLE)
PAUSE_S = 30.0
"""Seconds before another start, times the failures since the last checkpoint: what failed may need a moment."""


def with_restarts(
    start: Callable[[bool], int],
    *,
    restarts: int,
    saved_step: Callable[[], int],
    asked_to_stop: Callable[[], bool],
    tell: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Start until it ends well, or `restarts` times again without a new checkpoint; the last exit code.

    Args:
        start: trains and returns an exit code; its argument is whether it goes on from a checkpoint.
        restarts: how often, after a failure; 0 for not at all.
        saved_step: the step of the newest whole checkpoint, 0 if there is none.
        asked_to_stop: whether SIGTERM came meanwhile.
        tell: takes a line for the user.
        pause: waits for so many seconds.
    """
    failures, step = 0, saved_step()
    code = start(False)
    while code in WORTH_ANOTHER_TRY:
        failures, step = (1 if saved_step() > step else failures + 1), saved_step()
        if failures > restarts or asked_to_stop():
            break
        tell(f"start {failures} of {restarts} after step {step}, in {PAUSE_S * failures:.0f} s")
        pause(PAUSE_S * failures)
        if asked_to_stop():
            return ExitCode.PREEMPTED
        code = start(True)
    return code
