"""Seeds of sampled turns."""

from __future__ import annotations

from router_r1.rollout.sampling import RepeatableSampling, Sampling


def test_every_turn_of_every_trajectory_has_a_seed_of_its_own():
    sampling = Sampling(temperature=1.0, seed=7)
    seeds = [sampling.seed_of_turn(name, length) for name in "ab" for length in (10, 20)]
    assert len(set(seeds)) == 4
    assert seeds[0] == Sampling(temperature=1.0, seed=7).seed_of_turn("a", 10)
    assert Sampling(temperature=1.0).seed_of_turn("a", 10) is None


def test_a_repeatable_draw_depends_on_the_seed_and_the_context_alone():
    draw = RepeatableSampling(temperature=1.0, seed=7)
    assert draw.seed_of_turn("a", 10) == draw.seed_of_turn("b", 10) != draw.seed_of_turn("a", 20)
    assert draw.seed_of_turn("a", 10) != RepeatableSampling(temperature=1.0, seed=8).seed_of_turn("a", 10)
    assert 0 <= draw.seed_of_turn("a", 10) < 2**32
