"""A plan in words: two or three lines before a training, all of it for `router-r1 plan`."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console
from rich.table import Table

from router_r1.training.sizing import memory
from router_r1.training.sizing.amounts import QUERY_TOKENS, REPLY_TOKENS, Amounts, Measured
from router_r1.training.sizing.estimate import Estimate, MemoryPlan
from router_r1.training.sizing.job import Job

NOT_KNOWN = "not known"


def lines(found: Estimate, run_dir: Path) -> list[str]:
    """What stands before a training."""
    told = [f"plan: {_asked(found.amounts)} · {_money(found.amounts)} · time {_time(found)}"]
    if found.memory:
        told.append(f"plan: {_memory(found.memory)}")
        told += _disk_warning(found.memory, found.amounts, run_dir)
    elif found.why_no_memory:
        told.append(f"plan: GPU memory {NOT_KNOWN} ({found.why_no_memory})")
    return told


def _memory(plan: MemoryPlan) -> str:
    job = plan.given.job
    phases = plan.phases(job)
    host = memory.host_memory(plan.model, job)
    seen = "" if plan.is_seen else " (assumed: no GPU is seen here)"
    told = (
        f"GiB per GPU: {phases[0].total_gib:.0f} in rollout, {memory.update_gib(phases):.0f} in update, "
        f"of {plan.cluster.gpu.usable_gib:.0f} on {plan.cluster}{seen} · host {host.loading:.0f} GiB a node · "
        f"a checkpoint {plan.checkpoint_gb:.1f} GB"
    )
    if plan.given.fits:
        return told
    return f"{told} · does not fit: {plan.given.problem} (router-r1 plan finds what does)"


def _disk_warning(plan: MemoryPlan, amounts: Amounts, run_dir: Path) -> list[str]:
    if not amounts.kept:
        return []
    there = next(folder for folder in (run_dir, *run_dir.parents) if folder.exists())
    needed, free = amounts.kept * plan.checkpoint_gb, shutil.disk_usage(there).free / 1e9
    if free >= needed:
        return []
    return [f"plan: {amounts.kept} checkpoints will take {needed:.0f} GB, and {there} has {free:.0f} GB free"]


def _asked(amounts: Amounts) -> str:
    training = NOT_KNOWN if amounts.training is None else f"{amounts.training:,}"
    validation = NOT_KNOWN if amounts.validation is None else f"{amounts.validation:,}"
    told = f"trajectories {training} in training, {validation} in validation"
    if amounts.routes is None:
        return f"{told} · routes {NOT_KNOWN}"
    low, high = amounts.routes
    without = " without validation" if amounts.validation is None else ""
    more = ", and those of groups that are filtered out" if amounts.refills else ""
    return f"{told} · routes {low:,} to {high:,}{without}{more}"


def _money(amounts: Amounts) -> str:
    if amounts.is_free:
        return "no money: its candidates are served here"
    if amounts.spend_usd is None:
        return f"spend {NOT_KNOWN}"
    low, high = amounts.spend_usd
    more = ", and more for groups that are filtered out" if amounts.refills else ""
    return f"spend {low:.2f} to {high:.2f} USD{more}"


def _time(found: Estimate) -> str:
    hours = found.measured.hours(found.amounts) if found.measured else None
    if hours is None:
        return NOT_KNOWN
    assert isinstance(found.measured, Measured)
    return f"{hours:.1f} h (as measured in {found.measured.run})"


def show(found: Estimate, console: Console) -> None:
    """Print all of a plan. What does not fit is shown as well."""
    if found.memory:
        _show_memory(found.memory, console)
    elif found.why_no_memory:
        console.print(f"GPU memory: {NOT_KNOWN} ({found.why_no_memory})", markup=False)
    else:
        console.print("GPU memory: no GPU is used here; router-r1 plan --gpus 4xH100-80 plans for some")
    facts = _facts(found)
    width = max(map(len, facts))
    for name, value in facts.items():
        console.print(f"{name:{width}}  {value}", markup=False)
    if found.memory:
        _show_overrides(found.memory, console)


def _show_memory(plan: MemoryPlan, console: Console) -> None:
    model, job = plan.model, plan.chosen.job
    trained = f"LoRA of rank {job.lora_rank}" if job.lora_rank else "all weights trained"
    critic = "a critic of its size" if job.has_critic else "no critic"
    console.print(
        f"{model.name}: {model.parameters / 1e9:.3f} billion parameters, {trained}, {critic}, "
        f"trajectories of up to {job.max_length:,} tokens",
        markup=False,
    )
    console.print(_table(plan, job))


def _table(plan: MemoryPlan, job: Job) -> Table:
    assumed = "" if plan.is_seen else ", assumed"
    table = Table(title=f"GiB per GPU, {plan.cluster} ({plan.cluster.gpu.usable_gib:.1f} GiB each{assumed})")
    parts = ("policy", "critic", "work", "engine", "contexts")
    for heading in ("phase", *parts, "total"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for phase in plan.phases(job):
        held = {**phase.allocated, **phase.other}
        cells = [f"{held[part]:.1f}" if part in held else "" for part in parts]
        table.add_row(phase.name, *cells, f"{phase.total_gib:.1f}")
    return table


def _facts(found: Estimate) -> dict[str, str]:
    amounts, facts = found.amounts, {}
    if plan := found.memory:
        job = plan.chosen.job
        held = memory.kv_tokens(plan.model, job, plan.cluster.gpu)
        facts["KV cache"] = (
            f"{memory.kv_bytes(plan.model, job):,.0f} bytes a token; an engine holds {held:,} tokens, "
            f"{held // job.max_length} of the longest trajectories; a step has {job.trajectories_per_engine} at once"
        )
        host = memory.host_memory(plan.model, job)
        facts["host memory"] = f"{host.loading:.0f} GiB a node while it loads, {host.training:.0f} while it trains"
        kept = NOT_KNOWN if amounts.kept is None else f"{amounts.kept} kept, {amounts.kept * plan.checkpoint_gb:.0f} GB"
        facts["disk"] = f"{plan.checkpoint_gb:.1f} GB a checkpoint, {kept}"
    training, _, rest = _asked(amounts).partition(" · ")
    facts["trajectories"] = training.removeprefix("trajectories ")
    facts["routes"] = rest.removeprefix("routes ")
    facts["spend"] = _money(amounts).removeprefix("spend ")
    if not amounts.is_free and amounts.spend_usd:
        facts["spend"] += (
            f" (one cheap route a trajectory, {QUERY_TOKENS} tokens to {REPLY_TOKENS}, "
            f"to {amounts.max_turns} of the dearest and longest; without the cache)"
        )
    facts["time"] = _time(found) + ("" if found.measured else ": no earlier run like it in this folder")
    return facts


def _show_overrides(plan: MemoryPlan, console: Console) -> None:
    if not plan.chosen.fits:
        return
    if not plan.overrides:
        console.print("fits as it is configured")
        return
    why = "fits as configured; with less waste" if plan.given.fits else f"as configured {plan.given.problem}; it fits"
    console.print(f"{why} with: {' '.join(plan.overrides)}", markup=False)
