"""Methods that a server offers beyond those that are always there: fitted on scores, or of a user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from router_r1.methods.catalogue import Contender, contenders
from router_r1.methods.encoders import load_encoder
from router_r1.methods.fitting import check_candidates, fit_routers, that_can_run, training_table
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
    routers: Mapping[str, SingleRoundRouter] = field(default_factory=dict)
    """`Contender.fits` -> the router."""
    candidates: Sequence[str] = ()
    """Those of the scores, in their order."""
    source: str = ""
    """Of the scores."""

    def check(self, pool: RoutingPool) -> None:
        """See that they can choose among these candidates.

        Raises:
            ConfigError: one of them has no scores.
        """
        if self.routers:
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
    fits = list(dict.fromkeys(contender.fits for contender in named if contender.fits))
    if options.scores is None or not fits:
        return MoreMethods(named)
    train = training_table(read_scores(options.scores), pool)
    routers = fit_routers(fits, train, load_encoder(options.encoder), seed=seed, folder=options.fitted)
    return MoreMethods(named, routers, train.candidates, train.source)
