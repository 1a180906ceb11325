"""The random numbers of an answer, and how one of them picks a token."""

from __future__ import annotations

import numpy as np
import torch

from chord.rollout import draw_uniforms
from chord.rollout.choice import inverse_cdf, truncate


def test_random_numbers_belong_to_seed_step_problem_and_sample() -> None:
    draws = draw_uniforms(5, 2, keys=[40, 9], group_size=3, max_new_tokens=6)
    assert draws.shape == (6, 6)
    for row, (key, number) in enumerate([(40, 0), (40, 1), (40, 2), (9, 0), (9, 1), (9, 2)]):
        expected = np.random.default_rng([5, 2, key, number]).random(6)
        assert draws[row].tolist() == expected.tolist()
    longer = draw_uniforms(5, 2, keys=[9], group_size=1, max_new_tokens=9)
    assert longer[0, :6].tolist() == draws[3].tolist()


def test_a_problem_that_comes_twice_goes_on_counting_its_samples() -> None:
    twice = draw_uniforms(5, 2, keys=[40, 9, 40], group_size=2, max_new_tokens=4)
    wide = draw_uniforms(5, 2, keys=[40], group_size=4, max_new_tokens=4)
    assert np.concatenate((twice[:2], twice[4:])).tolist() == wide.tolist()


def test_truncation_keeps_the_smallest_set_that_reaches_the_mass() -> None:
    probs = torch.tensor([[0.1, 0.4, 0.3, 0.2]], dtype=torch.float64)
    # In order .4 .3 .2 .1; the mass before each is 0 .4 .7 .9: below .6 are the first two.
    assert truncate(probs, top_p=0.6).tolist() == [[0, 0.4, 0.3, 0]]
    assert truncate(probs, top_k=3).tolist() == [[0, 0.4, 0.3, 0.2]]
    assert torch.equal(truncate(probs), probs)


def test_a_draw_picks_the_first_token_whose_cumulative_share_exceeds_it() -> None:
    # Cumulative shares: 0, .25, .25, .75, 1, 1: indices 0, 2 and 5 have no probability.
    probs = torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.25, 0.0]], dtype=torch.float64)
    draws = [0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-53]
    rows = inverse_cdf(probs.expand(6, -1), torch.tensor(draws, dtype=torch.float64))
    assert rows.tolist() == [1, 1, 3, 3, 4, 4]
    # Unnormalised in the same proportions.
    assert inverse_cdf(probs * 0.3, torch.tensor([0.75]).double()).tolist() == [4]
