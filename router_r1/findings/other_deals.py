"""What a trained router is asked that it was not trained on: its validation questions, dealt otherwise.

A *change* makes another deal of a question's deal. It draws from a generator of the question's own, so that the files
of two calls are alike.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from router_r1.atomic import write_text
from router_r1.datasets import write_parquet
from router_r1.pool import NO_ADDRESS, Deal, RoutingPool, Shown, load_pool
from router_r1.project_files import pool_file
from router_r1.prompts import load_template, render_messages
from router_r1.runs import read_run_json
from router_r1.sim.world.candidates import NAMED, PROFILES

Change = Callable[[Deal, str, RoutingPool, random.Random], Deal]
"""(deal, kind of the question, pool, generator) -> deal."""

PLAIN = "-plain"
"""How the names end of those who are better than they say."""

NEWCOMERS = {profile.domain: profile.name for profile in NAMED if profile.domain}
"""Domain -> a good and cheap specialist whom the pool `dealt` lacks, so that no training there has met it."""


def as_it_was(deal: Deal, kind: str, pool: RoutingPool, draw: random.Random) -> Deal:
    """The same deal: what others are compared with."""
    return deal


def shuffled(deal: Deal, kind: str, pool: RoutingPool, draw: random.Random) -> Deal:
    """The same candidates in another order, their names given to one another."""
    names = [entry.name for entry in deal.shown]
    draw.shuffle(names)
    given = [entry._replace(name=name) for entry, name in zip(deal.shown, names, strict=True)]
    draw.shuffle(given)
    return Deal(tuple(given))


def with_newcomer(deal: Deal, kind: str, pool: RoutingPool, draw: random.Random) -> Deal:
    """One more, somewhere: the newcomer of the question's field, by a name that is free."""
    assert pool.deals is not None
    taken = {entry.name for entry in deal.shown}
    name = draw.choice([name for name in pool.deals.names if name not in taken])
    shown = list(deal.shown)
    shown.insert(draw.randint(0, len(shown)), Shown(name, NEWCOMERS[kind]))
    return Deal(tuple(shown))


def with_liar(deal: Deal, kind: str, pool: RoutingPool, draw: random.Random) -> Deal:
    """A specialist of another field says that it is the expert of the question's; the deal as it is if it has none."""
    strangers = [
        number
        for number, entry in enumerate(deal.shown)
        if PROFILES[entry.candidate].domain not in (None, kind) and entry.descriptor is None
    ]
    if not strangers:
        return deal
    liar = draw.choice(strangers)
    shown = list(deal.shown)
    shown[liar] = shown[liar]._replace(descriptor=pool.candidate(f"{kind}-expert").descriptor)
    return Deal(tuple(shown))


def write_changed(run_dir: Path, file: Path, change: Change, pool_path: Path) -> Path:
    """Write the run's validation questions with changed deals and the prompts that tell them; the path of the pool.

    Args:
        run_dir: of a training whose questions are dealt.
        pool_path: the pool that the changed deals are of.
    """
    import pyarrow.parquet as pq

    pool = load_pool(pool_path, base_url=NO_ADDRESS)
    template = load_template(read_run_json(run_dir)["template"])
    rows = pq.read_table(run_dir / "data" / "val.parquet").to_pylist()
    for row in rows:
        extra = row["extra_info"]
        dealt = Deal.from_rows(extra["candidates"], str(run_dir))
        assert dealt is not None
        deal = change(dealt, row["ability"], pool, random.Random(f"{row['data_source']} {extra['index']}"))
        extra["candidates"] = deal.as_rows()
        row["prompt"] = render_messages(
            template, pool, extra["question"], deal=deal, cost_weight=extra.get("cost_weight")
        )
    write_parquet(rows, file)
    return pool_path


# ---------------------------------------------------------------- pools made of those that come with the project


def with_newcomers(out: Path) -> Path:
    """A pool file: `dealt`, and the newcomers."""
    pool, names = _read("dealt"), set(NEWCOMERS.values())
    pool["candidates"] += [candidate for candidate in _read("sim")["candidates"] if candidate["name"] in names]
    return _write(out, "with_newcomers", pool)


def with_short_descriptors(out: Path) -> Path:
    """A pool file: `dealt`, where a descriptor says the field and not how good."""
    pool = _read("dealt")
    for candidate in pool["candidates"]:
        candidate["descriptor"] = candidate["descriptor"].rsplit(maxsplit=1)[0]
    return _write(out, "short_descriptors", pool)


def without_plain_ones(out: Path) -> Path:
    """A pool file: `dealt` without any candidate that calls itself plain."""
    pool = _read("dealt")
    pool["candidates"] = [c for c in pool["candidates"] if not c["name"].endswith(PLAIN)]
    left = {candidate["name"] for candidate in pool["candidates"]}
    pool["deals"]["groups"] = [[name for name in group if name in left] for group in pool["deals"]["groups"]]
    return _write(out, "without_plain_ones", pool)


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(pool_file(name).read_text(encoding="utf-8"))
    return found


def _write(out: Path, name: str, pool: dict[str, Any]) -> Path:
    file = (out / "pools" / f"{name}.yaml").absolute()
    write_text(file, yaml.safe_dump(pool | {"name": name}, sort_keys=False))
    return file
