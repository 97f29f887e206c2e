"""A split divides users among models: by their shares, each user always to the same one."""

from __future__ import annotations

from collections import Counter

import pytest

from router_r1.errors import ConfigError
from router_r1.serving.splits import Split, read_split


def test_shares_are_those_of_all_users():
    split = read_split("router-r1=0.9, knn@0.3=0.1")
    found = Counter(split.arm(f"user {number}") for number in range(4000))
    assert split == Split({"router-r1": 0.9, "knn@0.3": 0.1})
    assert found["knn@0.3"] == pytest.approx(400, abs=80)  # four standard deviations
    assert found.total() == 4000


def test_a_user_stays_with_an_arm_and_moves_only_if_the_boundary_passes():
    before, after = read_split("a=0.5,b=0.5"), read_split("a=0.6,b=0.4")
    users = [f"user {number}" for number in range(500)]
    assert [before.arm(user) for user in users] == [before.arm(user) for user in users]
    moved = Counter((before.arm(user), after.arm(user)) for user in users)
    assert ("a", "b") not in moved
    assert 20 < moved["b", "a"] < 90


def test_another_split_divides_the_same_users_otherwise():
    one, other = read_split("a=0.5,b=0.5"), read_split("a=0.5,c=0.5")
    users = [f"user {number}" for number in range(200)]
    assert [one.arm(user) == "a" for user in users] != [other.arm(user) == "a" for user in users]


def test_a_candidates_name_may_hold_an_equals_sign():
    assert read_split("candidate:a=b=0.5,direct=0.5").shares == {"candidate:a=b": 0.5, "direct": 0.5}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "'' is no arm"),
        ("router-r1", "'router-r1' is no arm"),
        ("router-r1=1", "divides nothing"),
        ("router-r1=0.9,knn=0.2", "has shares of 1.1 in sum; they must come to 1"),
        ("router-r1=1,knn=0", "'knn=0' is no arm"),
        ("router-r1=1.5,knn=-0.5", "'knn=-0.5' is no arm"),
        ("router-r1=nan,knn=0.5", "'router-r1=nan' is no arm"),
        ("router-r1=inf,knn=0.5", "has shares of inf in sum"),
        ("knn=0.5,knn=0.5", "names knn twice"),
        ("auto=0.5,knn=0.5", "names auto, which is what is divided"),
        ("=0.5,knn=0.5", "'=0.5' is no arm"),
    ],
)
def test_what_is_no_split_is_refused_in_one_line(written, told):
    with pytest.raises(ConfigError, match="--split") as caught:
        read_split(written)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
