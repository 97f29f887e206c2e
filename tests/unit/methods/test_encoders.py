"""Questions as vectors."""

from __future__ import annotations

import numpy as np
import pytest

from router_r1.errors import ConfigError
from router_r1.methods.encoders import load_encoder

pytest.importorskip("sklearn")


def test_words_are_vectors_of_length_one_that_do_not_depend_on_their_neighbours():
    encoder = load_encoder("words")
    together = encoder.encode(["Who sang Bosen?", "What is the capital of France?"])
    assert together.shape == (2, 384)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert encoder.encode(["Who sang Bosen?"])[0] == pytest.approx(together[0], abs=1e-6)


def test_questions_with_the_same_words_are_near_each_other():
    near, far, question = load_encoder("words").encode(
        ["Who sang Kedor?", "Compute the integral of x squared", "Who sang Bosen?"]
    )
    assert question @ near > question @ far + 0.3


def test_a_model_that_is_not_there_is_told_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"--encoder = .*: cannot be loaded"):
        load_encoder(str(tmp_path / "nothing"))
