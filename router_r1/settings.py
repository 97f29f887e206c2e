"""What to ask, and whom: a user's options, a run's facts and defaults brought together, and checked before any start.

An option is written once, as a field of `RouterOptions`: its name, type, default, help and bounds. The command line,
the key by which a benchmark is resumed and the dump of a configuration all derive from the field.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from router_r1 import runs
from router_r1.checkpoints import find_policy, newest_policy
from router_r1.errors import ConfigError
from router_r1.methods import METHOD_ARGUMENTS, METHODS, check_method
from router_r1.plugins import check_asks, find
from router_r1.pool import NO_ADDRESS, Deal, RoutingPool, check_api_keys, dealer_of, load_pool
from router_r1.project_files import pool_file
from router_r1.prompts import Template, load_template
from router_r1.rollout.backends import BACKEND_ARGUMENTS, BACKENDS
from router_r1.rollout.loop import RolloutLimits
from router_r1.rollout.model_folder import model_config
from router_r1.rollout.sampling import Sampling
from router_r1.routing.config import RoutingConfig
from router_r1.sim.world.qa_book import find_files

if TYPE_CHECKING:
    from router_r1.methods import MethodFactory
    from router_r1.rollout.backends import Backend

_GIVEN_KEY = "ROUTER_R1_API_KEY"  # where a key from the command line goes if the pool file names no variable

HOW_IT_RUNS = "how it runs"
"""Marks an option that changes what a result takes and costs, but not the result: it is no part of a resume key."""


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PolicyOptions(_Options):
    """Which policy, and how it samples."""

    model_path: str | None = None
    """Hugging Face folder, hub id, or checkpoint folder of veRL (default: that of the newest run)."""
    run: str | None = None
    """Run of `train` whose checkpoint, pool and prompt are used; `latest` is the one trained last."""
    runs: Annotated[Path, HOW_IT_RUNS] = Path("runs")
    """Folder that the runs are in."""
    method: str | None = None
    """Instead of a trained router: the name of another method, or a dotted path to a class of your own."""
    base_url: Annotated[tuple[str, ...], HOW_IT_RUNS] = ()
    """Ask a policy that is served there (vllm serve), at one or more addresses."""
    replicas: Annotated[int | None, HOW_IT_RUNS] = Field(default=None, ge=1)
    """Engines in a Ray cluster ($RAY_ADDRESS)."""
    backend: str | None = None
    """Policy back end: vllm, http, ray, or a dotted path to one of your own (default: by the options above)."""
    tensor_parallel_size: Annotated[int, HOW_IT_RUNS] = Field(default=1, ge=1)
    """GPUs that share the model."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """Of sampling; 0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Of sampling."""
    seed: int = 0
    """Of sampling."""
    max_turns: int | None = Field(default=None, ge=0)
    """Searches per question (default: the run's, or 4)."""
    cost_weight: float | None = Field(default=None, ge=0, le=1)
    """How much cost counts, told by the prompts (default: that of each test question; or else the run's, or 0)."""


class CandidateOptions(_Options):
    """Which candidates, and how they are shown to the policy."""

    pool: str | None = None
    """Routing pool: a file, or the name of one that comes with the project (default: the run's)."""
    template: str | None = None
    """Prompt template: a name or a file (default: the run's, or by the model)."""
    sim_qa: tuple[str, ...] = ()
    """For the simulated pool: FlashRAG files or folders whose questions it knows (default: the run's)."""
    api_base: str | None = None
    """Endpoint of all candidates, instead of the pool file's."""
    api_key: Annotated[str | None, HOW_IT_RUNS] = Field(default=None, repr=False, exclude=True)
    """The candidates' API key; safer is the environment variable that the pool file names in api_key_env."""


class RouterOptions(PolicyOptions, CandidateOptions):
    """What a user can say of a router; None leaves it to the run that made the checkpoint, or else to a default."""

    routing: Annotated[RoutingConfig, HOW_IT_RUNS] = RoutingConfig()
    """How the candidates are asked."""


@dataclass(frozen=True, kw_only=True)
class RouterSettings:
    """A checked answer to: which policy or method, which candidates, which prompt, which limits."""

    options: RouterOptions  # with what the run and the defaults filled in
    pool: RoutingPool  # if served by ourselves, with endpoints still to be filled in
    template: Template
    cost_weight: float  # of a question that has none of its own
    limits: RolloutLimits
    sampling: Sampling
    backend: Backend
    method: MethodFactory | None  # None: a router, that is a policy in the rollout loop
    run_dir: Path | None
    run: dict[str, Any]  # the run's facts; {} without a run

    @property
    def simulated(self) -> bool:
        """The pool is served by ourselves, for as long as it is needed."""
        return self.pool.served_here and self.options.api_base is None

    def deal(self, number: int = 0) -> Deal | None:
        """The deal of the run's validation question of that number; None if the pool is not dealt."""
        deal = dealer_of(self.pool, self.run.get("seed", 0))
        return None if deal is None else deal("val", number)

    def as_config(self) -> dict[str, Any]:
        """All of it as JSON types; no secrets."""
        return {**self.options.model_dump(mode="json"), **self._derived()}

    def resume_key(self) -> dict[str, Any]:
        """What the trajectories depend on, as JSON types. How they are made, and paid for, is no part of it."""
        fields = RouterOptions.model_fields.items()
        skipped = {name for name, field in fields if HOW_IT_RUNS in field.metadata}
        return {**self.options.model_dump(mode="json", exclude=skipped), **self._derived()}

    def _derived(self) -> dict[str, Any]:
        return {
            "pool_name": self.pool.name,
            "candidates": [c.model_dump(mode="json") for c in self.pool.candidates],
            **({"recorded": self.pool.recorded.model_dump(mode="json")} if self.pool.recorded else {}),
            "simulated": self.simulated,
            "limits": vars(self.limits),
            "sampling": vars(self.sampling),
        }


def make_settings(options: RouterOptions, *, with_policy: bool = True) -> RouterSettings:
    """Check everything that can be checked without loading a model.

    A key given on the command line is put into this process's environment, under the name the pool file has for it.

    Args:
        with_policy: whether a policy or a method answers; False: candidates are asked, and nobody chooses them.

    Raises:
        ConfigError: for the first thing that is wrong.
    """
    backend = find("command line", "--backend", _backend_name(options), BACKENDS)
    check_asks("command line", "--backend", backend, BACKEND_ARGUMENTS)
    method = find("command line", "--method", options.method, METHODS) if options.method else None
    if method:
        check_asks("command line", "--method", method, METHOD_ARGUMENTS)
        if isinstance(method, type):
            check_method(method)
    run_dir = _find_run(options) if with_policy or options.run else None
    run = runs.read_run_json(run_dir) if run_dir else {}
    model_path = None if method or not with_policy else _model_path(options, run_dir)
    written_pool = options.pool or run.get("pool")
    if written_pool is None:
        why = "this policy comes from no run that names a pool" if with_policy else "it says whom to ask"
        raise ConfigError("command line", "--pool", None, f"is needed: {why}")
    file = pool_file(written_pool)
    pool = load_pool(file, base_url=options.api_base)
    simulated = pool.served_here and options.api_base is None
    if simulated:
        pool = load_pool(file, base_url=NO_ADDRESS)
    _check_simulated(options, pool, simulated)
    if options.api_key:
        pool = _grant_key(pool, options.api_key)
    if not simulated:
        check_api_keys(pool)
    template = load_template(options.template or run.get("template") or _template_for(model_path))
    if options.cost_weight is not None and not (template.tells_cost_weight or method):
        remedy = f"is told by no prompt of template {template.name}: add {{cost_weight}} to it, or leave the option out"
        raise ConfigError("command line", "--cost-weight", options.cost_weight, remedy)
    limits = _limits(options, run)
    filled_in = {
        "model_path": model_path,
        "run": str(run_dir) if run_dir else None,
        "pool": str(file),
        "template": template.name,
        "max_turns": limits.max_turns,
        "base_url": tuple(dict.fromkeys(options.base_url)),
        "sim_qa": tuple(options.sim_qa or run.get("qa", ())) if simulated and pool.simulated else (),
    }
    return RouterSettings(
        options=options.model_copy(update=filled_in),
        pool=pool,
        template=template,
        cost_weight=_cost_weight(options, run),
        limits=limits,
        sampling=Sampling(temperature=options.temperature, top_p=options.top_p, seed=options.seed),
        backend=backend,
        method=method,
        run_dir=run_dir,
        run=run,
    )


def with_own_model(settings: RouterSettings, model_path: str) -> RouterSettings:
    """The same candidates, prompts and limits with another policy, started like the first, or here if that is served.

    Args:
        model_path: Hugging Face folder or hub id.
    """
    options = settings.options.model_copy(update={"model_path": model_path, "base_url": ()})
    served = settings.backend is BACKENDS["http"]
    return replace(settings, options=options, backend=BACKENDS["vllm"] if served else settings.backend)


def _backend_name(options: RouterOptions) -> str:
    if options.base_url and options.replicas:
        raise ConfigError(
            "command line", "--replicas", options.replicas, "starts engines; --base-url names running ones"
        )
    return options.backend or ("http" if options.base_url else "ray" if options.replicas else "vllm")


def _model_path(options: RouterOptions, run_dir: Path | None) -> str | None:
    """The Hugging Face folder or hub id of the policy; None for whatever the endpoints serve."""
    if options.model_path is not None:
        return find_policy("command line", "--model-path", options.model_path)
    if options.base_url:
        return None
    assert run_dir is not None  # with no policy named, a run was found or an error raised
    folder = newest_policy(run_dir)
    if folder is None:
        raise ConfigError("command line", "--run", run_dir.name, "has no checkpoint yet; name another, or train on")
    return find_policy("command line", "--run", str(folder))


def _find_run(options: RouterOptions) -> Path | None:
    """The run that is meant: the named one, the one the model folder lies in, or, with no policy named, the newest."""
    if options.run is not None:
        folder = Path(options.run) if (Path(options.run) / "run.json").is_file() else options.runs / options.run
        if not (folder / "run.json").is_file():
            remedy = f"is no run; those of {options.runs} are {_names(options.runs)}"
            raise ConfigError("command line", "--run", options.run, remedy)
        return folder.resolve()
    if options.model_path is not None:
        named = Path(options.model_path).expanduser().resolve()
        above = (named, *named.parents)
        return next((folder for folder in above if (folder / "run.json").is_file()), None)
    if options.base_url or (options.method and options.pool):
        return None
    newest = newest_run(options.runs)
    if newest is None:
        remedy = f"is needed: there is no trained policy in {options.runs} yet (router-r1 train makes one)"
        raise ConfigError("command line", "--model-path", None, remedy)
    return newest


def newest_run(runs_dir: Path) -> Path | None:
    """The run whose policy was saved last; None if none has one."""
    trained = {folder: policy for folder in _all_runs(runs_dir) if (policy := newest_policy(folder)) is not None}
    return max(trained, key=lambda folder: trained[folder].stat().st_mtime).resolve() if trained else None


def _all_runs(runs_dir: Path) -> list[Path]:
    return [file.parent for file in sorted(runs_dir.glob("*/run.json")) if not file.parent.is_symlink()]


def _names(runs_dir: Path) -> str:
    return ", ".join(folder.name for folder in _all_runs(runs_dir)) or "none"


def _check_simulated(options: RouterOptions, pool: RoutingPool, simulated: bool) -> None:
    """See that what is for real candidates, or for simulated ones, is not asked of the others."""
    if simulated and pool.recorded:
        from router_r1.recorded.pools import load_recorded_pool

        load_recorded_pool(pool)
    if simulated and options.routing.cache != "off":
        remedy = "is for real candidates; those of this pool cost nothing"
        raise ConfigError("command line", "--cache", options.routing.cache, remedy)
    if options.sim_qa:
        if not (simulated and pool.simulated):
            raise ConfigError("command line", "--sim-qa", None, "is for the simulated pool only; leave it out")
        find_files(options.sim_qa)


def _template_for(model_path: str | None) -> str:
    return "llama" if model_path and model_config(model_path).get("model_type") == "llama" else "qwen"


def _cost_weight(options: RouterOptions, run: dict[str, Any]) -> float:
    """That which was asked for, or the run's; 0 for a policy that has learned several, or of which nothing is known."""
    if options.cost_weight is not None:
        return options.cost_weight
    alpha = run.get("cost_coe")
    return alpha if isinstance(alpha, int | float) else 0.0


def _limits(options: RouterOptions, run: dict[str, Any]) -> RolloutLimits:
    limits = RolloutLimits(**run.get("rollout", {}))
    if "max_prompt_length" in run:
        limits = replace(limits, max_prompt_length=run["max_prompt_length"])
    return limits if options.max_turns is None else replace(limits, max_turns=options.max_turns)


def _grant_key(pool: RoutingPool, key: str) -> RoutingPool:
    """Put a key into the environment, under the one name by which the pool's candidates look for theirs."""
    variables = {c.api_key_env for c in pool.candidates if c.api_key_env}
    if len(variables) > 1:
        raise ConfigError(
            "command line",
            "--api-key",
            None,
            f"the pool uses several keys, and one must not be sent to all: set {', '.join(sorted(variables))} instead",
        )
    variable = next(iter(variables), _GIVEN_KEY)
    os.environ[variable] = key
    keyed = [c.model_copy(update={"api_key_env": variable}) for c in pool.candidates]
    return pool.model_copy(update={"candidates": tuple(keyed)})
