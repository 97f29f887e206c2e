"""Fitted routers that name what they have learned, and so need no code of their own to be saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

from router_r1.errors import ConfigError
from router_r1.methods.encoders import Encoder
from router_r1.methods.saved import FACTS_FILE, read_fitted, write_fitted
from router_r1.methods.single_round import QualityRouter


class FittedRouter(QualityRouter):
    """A quality router whose `utilities` depend on its encoder and on the attributes that it names here.

    It can be made without arguments; what was given instead of a default is among the facts.
    """

    FACTS: ClassVar[tuple[str, ...]] = ()
    """Attributes of JSON types: hyper-parameters."""
    ARRAYS: ClassVar[tuple[str, ...]] = ()
    """Attributes that are arrays; `cheapness` always is one."""
    ESTIMATORS: ClassVar[tuple[str, ...]] = ()
    """Attributes that are estimators of scikit-learn, of the kinds that `saved` reads."""

    def save(self, folder: Path) -> None:
        facts = {"router": type(self).__name__, "encoder": self.encoder.name}
        write_fitted(
            folder,
            facts | {name: getattr(self, name) for name in self.FACTS},
            {name: getattr(self, name) for name in ("cheapness", *self.ARRAYS)},
            {name: getattr(self, name) for name in self.ESTIMATORS},
        )

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self:
        """The router that was saved there.

        Raises:
            ConfigError: the folder holds none, another one, a part of one, or one that was fitted on other vectors.
        """
        facts, arrays, estimators = read_fitted(folder)
        for key, wanted in (("router", cls.__name__), ("encoder", encoder.name)):
            if facts.get(key) != wanted:
                remedy = f"is not {wanted}: load it as what it is, or fit it anew"
                raise ConfigError(folder / FACTS_FILE, key, facts.get(key), remedy)
        router = cls()
        router.encoder = encoder
        learned = facts | arrays | estimators
        for name in ("cheapness", *cls.FACTS, *cls.ARRAYS, *cls.ESTIMATORS):
            if name not in learned:
                raise ConfigError(folder, name, None, "is missing from this fitted router; fit it anew")
            setattr(router, name, learned[name])
        return router
