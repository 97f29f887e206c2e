"""Scores of candidates on questions: gathered or brought along, parted, and weighed against money."""

from router_r1.scores.table import ScoredQuestion, ScoreTable, cheapness, full_cost, split, utility

__all__ = ["ScoreTable", "ScoredQuestion", "cheapness", "full_cost", "split", "utility"]
