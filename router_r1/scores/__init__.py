"""Scores of candidates on questions: gathered or brought along, parted, and weighed against money."""

from router_r1.scores.files import read_replies, read_samples, read_score_provenance, read_scores, write_scores
from router_r1.scores.samples import CheckedSamples, Replies, Sample
from router_r1.scores.table import ScoredQuestion, ScoreTable, cheapness, full_cost, split, utility

__all__ = [
    "CheckedSamples",
    "Replies",
    "Sample",
    "ScoreTable",
    "ScoredQuestion",
    "cheapness",
    "full_cost",
    "read_replies",
    "read_samples",
    "read_score_provenance",
    "read_scores",
    "split",
    "utility",
    "write_scores",
]
