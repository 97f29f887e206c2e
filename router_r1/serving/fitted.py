"""Methods that a server offers beyond those that are always there: fitted on scores, or of a user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from router_r1.methods.cascades import Cascade
from router_r1.methods.catalogue import Contender, contenders
from router_r1.methods.encoders import load_encoder
from router_r1.methods.fitting import check_candidates, fit_methods, that_can_run, training_replies, training_table
from router_r1.methods.single_round import SingleRoundRouter
from router_r1.pool import RoutingPool
from router_r1.scores import read_scores
from router_r1.serving.options import ServingOptions

DEFAULT_METHODS = "knn,knn*,mlp,svm"
"""Those that are fitted in seconds."""


@dataclass(frozen=True)
class MoreMethods:
    """Methods, and what those among them were fitted on that had to be."""

    contenders: Sequence[Contender] = ()
    fitted: Mapping[str, SingleRoundRouter | Cascade] = field(default_factory=dict)
    """By `Contender.fits`."""
    candidates: Sequence[str] = ()
    """Those of the scores, in their order."""
    source: str = ""
    """Of the scores."""

    def check(self, pool: RoutingPool) -> None:
        """See that they can choose among these candidates.

        Raises:
            ConfigError: one of them has no scores.
        """
        if self.fitted:
            check_candidates(self.candidates, pool, self.source)


NO_MORE = MoreMethods()


def more_methods(options: ServingOptions, pool: RoutingPool, *, seed: int) -> MoreMethods:
    """Those that the options ask for, fitted.

    Raises:
        ConfigError: a method, the scores or the folder of fitted methods cannot be used.
    """
    if options.methods is None and options.scores is None:
        return NO_MORE
    written = options.methods or DEFAULT_METHODS
    named, _ = that_can_run(contenders(written, pool), written, has_scores=options.scores is not None)
    if options.scores is None or not any(contender.fits for contender in named):
        return MoreMethods(named)
    train = training_table(read_scores(options.scores), pool)
    replies, unfit = training_replies(named, written, options.scores, train, pool)
    named = [contender for contender in named if contender.title not in unfit]
    fits = list(dict.fromkeys(contender.fits for contender in named if contender.fits))
    encoder = load_encoder(options.encoder)
    fitted = fit_methods(fits, train, encoder, seed=seed, folder=options.fitted, replies=replies)
    return MoreMethods(named, fitted, train.candidates, train.source)
