"""Regression forests as plain arrays: predictions, and what each feature contributed to one.

The trees are grown by scikit-learn and walked here. Its own trees are of a type that a file of a router may not hold,
and walking them is what contributions need anyway.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from router_r1.methods.fitted import FittedRouter

LEAF = -1


class ForestRouter(FittedRouter):
    """A router whose model is a forest; its nodes are numbered through all trees.

    A forest's prediction is the mean over its trees of the value of the leaf that a row falls into.
    """

    ARRAYS: ClassVar[tuple[str, ...]] = ("roots", "feature", "threshold", "left", "right", "value")
    roots: np.ndarray  # [num_trees], nodes
    feature: np.ndarray  # which one a node asks for, LEAF if none. [num_nodes]
    threshold: np.ndarray  # rows with at most this go left. [num_nodes]
    left: np.ndarray  # [num_nodes], nodes
    right: np.ndarray  # [num_nodes], nodes
    value: np.ndarray  # mean target of a node's training rows. [num_nodes, num_targets]

    def grow(
        self, inputs: np.ndarray, target: np.ndarray, *, num_trees: int, min_leaf: int, max_features: float, seed: int
    ) -> None:
        """Grow extremely randomised trees (Geurts et al. 2006): each split is the best of one random threshold per
        feature, for a random share of the features.

        Args:
            inputs: float32. [num_rows, num_features]
            target: [num_rows, num_targets]
            min_leaf: training rows in a leaf, at least.
            max_features: that share, in (0, 1].
        """
        from sklearn.ensemble import ExtraTreesRegressor

        forest = ExtraTreesRegressor(
            num_trees, min_samples_leaf=min_leaf, max_features=max_features, random_state=seed
        ).fit(inputs, target[:, 0] if target.shape[1] == 1 else target)
        trees: list[Any] = [estimator.tree_ for estimator in forest.estimators_]
        self.roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
        is_leaf = np.concatenate([tree.children_left == LEAF for tree in trees])
        shift = np.repeat(self.roots, [tree.node_count for tree in trees])
        self.left = np.concatenate([tree.children_left for tree in trees]) + shift
        self.right = np.concatenate([tree.children_right for tree in trees]) + shift
        self.feature = np.where(is_leaf, LEAF, np.concatenate([tree.feature for tree in trees]))
        self.threshold = np.concatenate([tree.threshold for tree in trees])
        self.value = np.concatenate([tree.value[:, :, 0] for tree in trees])

    def forest_mean(self, inputs: np.ndarray) -> np.ndarray:
        """What the forest predicts. [num_rows, num_targets]"""
        nodes = np.tile(self.roots, (len(inputs), 1))  # [num_rows, num_trees]
        while (self.feature[nodes] != LEAF).any():
            nodes = self._step(inputs, nodes)
        return np.asarray(self.value[nodes].mean(axis=1))

    def forest_contributions(self, inputs: np.ndarray) -> np.ndarray:
        """What each feature added: at every split on a row's way, by how much the value of the node below differs from
        that of the node above (Saabas 2014). All that was added and the mean value of the roots are the prediction.

        Returns:
            [num_rows, num_features, num_targets]
        """
        num_rows, num_features = inputs.shape
        added = np.zeros((num_rows, num_features, self.value.shape[1]))
        nodes = np.tile(self.roots, (num_rows, 1))
        rows = np.broadcast_to(np.arange(num_rows)[:, None], nodes.shape)
        while (is_inside := self.feature[nodes] != LEAF).any():
            below = self._step(inputs, nodes)
            where = rows[is_inside], self.feature[nodes[is_inside]]
            np.add.at(added, where, self.value[below[is_inside]] - self.value[nodes[is_inside]])
            nodes = below
        return np.asarray(added / len(self.roots))

    def _step(self, inputs: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """One node further down; leaves stay where they are."""
        asked = self.feature[nodes]
        given = np.take_along_axis(inputs, np.maximum(asked, 0), axis=1)
        below = np.where(given <= self.threshold[nodes], self.left[nodes], self.right[nodes])
        return np.asarray(np.where(asked == LEAF, nodes, below))
