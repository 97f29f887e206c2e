"""A training that fails is started again, as long as that is of use."""

from __future__ import annotations

import pytest

from router_r1.exit_codes import ExitCode
from router_r1.training.restarts import PAUSE_S, with_restarts


class Training:
    """Ends with these codes, one a start; after each, that step is saved."""

    def __init__(self, *ends: tuple[int, int], stops_in_pause: int | None = None) -> None:
        self.ends, self.starts, self.step = list(ends), [], 0
        self.pauses: list[float] = []
        self.told: list[str] = []
        self._stops_in_pause = stops_in_pause
        self.is_asked_to_stop = False

    def start(self, resumes: bool) -> int:
        self.starts.append(resumes)
        code, self.step = self.ends.pop(0)
        return code

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.is_asked_to_stop = self.is_asked_to_stop or len(self.pauses) == self._stops_in_pause

    def run(self, restarts: int) -> int:
        return with_restarts(
            self.start,
            restarts=restarts,
            saved_step=lambda: self.step,
            asked_to_stop=lambda: self.is_asked_to_stop,
            tell=self.told.append,
            pause=self.pause,
        )


FAILED, DONE = ExitCode.FAILED, ExitCode.DONE


def test_without_restarts_a_failure_is_the_end():
    training = Training((FAILED, 3))
    assert training.run(0) == FAILED
    assert training.pauses == []


def test_a_failed_training_goes_on_from_its_checkpoint_until_it_is_done():
    training = Training((FAILED, 3), (ExitCode.POOL_UNREACHABLE, 3), (DONE, 9))

    assert training.run(3) == DONE
    assert training.starts == [False, True, True]
    assert training.pauses == [PAUSE_S, 2 * PAUSE_S], "the second failed where the first had"
    assert training.told == ["start 1 of 3 after step 3, in 30 s", "start 2 of 3 after step 3, in 60 s"]


def test_one_that_fails_at_the_same_place_is_given_up():
    training = Training(*[(FAILED, 3)] * 9)
    assert training.run(2) == FAILED
    assert len(training.starts) == 3


def test_a_new_checkpoint_counts_anew():
    training = Training(*[(FAILED, step) for step in (1, 2, 3, 4)], (DONE, 5))
    assert training.run(1) == DONE


@pytest.mark.parametrize(
    "code", [ExitCode.REFUSED, ExitCode.BUDGET_SPENT, ExitCode.DISK_FULL, ExitCode.PREEMPTED, ExitCode.INTERRUPTED]
)
def test_what_another_start_would_not_mend_is_the_end(code):
    training = Training((code, 3))
    assert training.run(5) == code


def test_sigterm_during_the_pause_ends_it_as_preempted():
    training = Training((FAILED, 3), stops_in_pause=1)
    assert training.run(5) == ExitCode.PREEMPTED
    assert training.starts == [False]


def test_a_run_that_failed_after_sigterm_is_not_started_again():
    training = Training((FAILED, 3))
    training.is_asked_to_stop = True
    assert training.run(5) == FAILED
