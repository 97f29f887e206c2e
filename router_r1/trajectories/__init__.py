"""Trajectories kept to be looked at, judged by people, and learned from: one store for those of the server, of
benchmarks and of training steps."""

from router_r1.trajectories.export import ExportedRecord
from router_r1.trajectories.folders import FolderIndex
from router_r1.trajectories.kept import Feedback, KeptTrajectory, Segment, TrajectoryFacts
from router_r1.trajectories.selection import SORTS, Selection, Sort
from router_r1.trajectories.store import Page, TrajectoryStore

__all__ = [
    "SORTS",
    "ExportedRecord",
    "Feedback",
    "FolderIndex",
    "KeptTrajectory",
    "Page",
    "Segment",
    "Selection",
    "Sort",
    "TrajectoryFacts",
    "TrajectoryStore",
]
