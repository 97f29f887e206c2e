"""What a server allows: each option written once, with its help and bounds."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from router_r1.methods.encoders import WORDS
from router_r1.serving.listening import ListeningOptions


class ServingOptions(ListeningOptions):
    """Address, limits, log."""

    folders: tuple[Path, ...] = (Path("runs"), Path("results"))
    """Folders of runs and benchmarks that the pages show; those that are not there are passed over."""
    max_concurrent: int = Field(default=64, ge=1)
    """Trajectories at a time."""
    max_waiting: int = Field(default=64, ge=0)
    """Requests that may wait for their turn; more are refused (429)."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Of one API key; more are refused (429)."""
    spend_per_day_usd: float | None = Field(default=None, ge=0)
    """Of one API key, on routes, per UTC day; then requests are refused (402)."""
    request_timeout_s: float = Field(default=300.0, gt=0)
    """Longest time for one request, its wait included (504)."""
    max_body_kb: int = Field(default=1024, ge=1)
    """Largest request body, in KiB (413)."""
    drain_s: float = Field(default=60.0, ge=0)
    """After SIGTERM, how long requests in flight may go on."""
    access_log: Path | None = None
    """Append a JSON line per request to this file (default: standard error)."""
    log_texts: bool = False
    """Questions and answers go into the access log as well."""
    store: Path | None = None
    """Keep trajectories in this file, SQLite (default: in memory, until the server ends)."""
    keep_texts: bool = False
    """Keep what was asked, thought, replied and answered, too."""
    keep_days: float | None = Field(default=None, gt=0)
    """Delete trajectories that are older."""
    keep_mb: float | None = Field(default=None, gt=0)
    """Delete the oldest trajectories beyond so many MB (default: 1000 in a file, 20 in memory)."""
    split: str | None = None
    """MODEL=SHARE,MODEL=SHARE: divide the users of the model `auto` among these."""
    scores: Path | None = None
    """Scores of candidates on questions, parquet (`router-r1 scores`), that further methods are fitted on."""
    methods: str | None = None
    """Further methods to serve, NAME,NAME,... (docs/methods.md; default with --scores: knn,knn*,mlp,svm)."""
    encoder: str = WORDS
    """What makes vectors of questions for them: words, or a sentence embedding model (folder, or id on the hub)."""
    fitted: Path | None = None
    """Folder of fitted methods: those that are there need not be fitted again."""
