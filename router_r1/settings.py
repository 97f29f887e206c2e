"""What to ask, and whom: options, run folders and defaults brought together and checked before anything is started."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from router_r1 import runs
from router_r1.checkpoints import find_policy, newest_policy
from router_r1.cli.running import positive
from router_r1.errors import ConfigError, validated
from router_r1.pool import RoutingPool, check_api_keys, load_pool
from router_r1.prompts import Template, load_template
from router_r1.rollout.loop import RolloutLimits
from router_r1.rollout.model_folder import model_config
from router_r1.rollout.sampling import Sampling
from router_r1.routing.config import CacheMode, RoutingConfig
from router_r1.sim.world.qa_book import find_files

PROJECT_ROOT = Path(__file__).resolve().parents[2]
SIMULATED_POOL = PROJECT_ROOT / "configs" / "pools" / "sim.yaml"
_GIVEN_KEY = "ROUTER_R1_API_KEY"  # where a key from the command line goes if the pool file names no variable
_ANY_ENDPOINT = "http://127.0.0.1:1/v1"  # stands in while the simulated server's port is not known yet


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user can say; None leaves it to the run that made the checkpoint, or else to a default."""

    run: str | None = None
    model_path: str | None = None
    base_url: Sequence[str] | None = None
    pool: str | None = None
    template: str | None = None
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    max_turns: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    tensor_parallel_size: int = 1
    replicas: int | None = None
    sim_qa: Sequence[str] = ()
    budget_usd: float | None = None
    cache: str = "off"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A checked answer to: which policy, which candidates, which prompt, which limits."""

    model_path: str | None  # None: whatever the endpoints serve
    base_urls: tuple[str, ...]  # where it is served, all the same; (): by an engine of our own
    pool: RoutingPool  # if simulated, with endpoints still to be filled in
    pool_file: Path
    routing: RoutingConfig
    template: Template
    limits: RolloutLimits
    sampling: Sampling
    run_dir: Path | None
    run: dict[str, Any]  # the run's facts; {} without a run
    simulated: bool  # the pool is served by ourselves, for as long as it is needed
    seed: int
    tensor_parallel_size: int
    replicas: int | None  # engines in a Ray cluster; None: one, in this process
    sim_qa: tuple[str, ...]  # FlashRAG files or folders whose questions the simulated candidates know

    def as_config(self) -> dict[str, Any]:
        """What the results depend on, as JSON types; no secrets. How routes are paid for is no part of it."""
        return {
            "model_path": self.model_path,
            "base_urls": list(self.base_urls),
            "replicas": self.replicas,
            "run": str(self.run_dir) if self.run_dir else None,
            "pool": str(self.pool_file),
            "pool_name": self.pool.name,
            "candidates": [c.model_dump(mode="json") for c in self.pool.candidates],
            "simulated": self.simulated,
            "sim_qa": list(self.sim_qa),
            "template": self.template.name,
            "limits": vars(self.limits),
            "sampling": vars(self.sampling),
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command-line form of `Options`."""
    policy = parser.add_argument_group("policy")
    policy.add_argument(
        "--model_path",
        metavar="DIR",
        help="Hugging Face folder, hub id, or checkpoint folder of veRL (default: that of the newest run)",
    )
    policy.add_argument("--run", metavar="NAME", help="run of train.sh whose checkpoint, pool and prompt are used")
    policy.add_argument(
        "--base_url", nargs="+", metavar="URL", help="ask a policy that is served there (vllm serve), at one or more"
    )
    policy.add_argument("--replicas", type=positive, metavar="N", help="engines in a Ray cluster ($RAY_ADDRESS)")
    policy.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    policy.add_argument("--top_p", type=float, default=1.0)
    policy.add_argument("--seed", type=int, default=0, help="of sampling (default: 0)")
    policy.add_argument("--max_turns", type=int, metavar="N", help="searches per question (default: the run's, or 4)")
    policy.add_argument("--tensor_parallel_size", type=int, default=1, metavar="N", help="GPUs that share the model")
    candidates = parser.add_argument_group("candidates")
    candidates.add_argument("--pool", metavar="FILE", help="routing pool (default: the run's)")
    candidates.add_argument("--template", metavar="NAME", help="prompt template (default: the run's, or by the model)")
    candidates.add_argument(
        "--sim_qa",
        nargs="+",
        default=(),
        metavar="PATH",
        help="for the simulated pool: FlashRAG files or folders whose questions it knows (default: the run's)",
    )
    candidates.add_argument(
        "--budget_usd", type=float, metavar="USD", help="stop once this much is spent (default: no limit)"
    )
    candidates.add_argument(
        "--cache",
        choices=get_args(CacheMode),
        default="off",
        help="keep replies on disk, ask nothing twice (default: off)",
    )
    candidates.add_argument("--api_base", metavar="URL", help="endpoint of all candidates, instead of the pool file's")
    candidates.add_argument(
        "--api_key",
        metavar="KEY",
        help="the candidates' API key; safer is the environment variable that the pool file names in api_key_env",
    )


def options_of(arguments: argparse.Namespace) -> Options:
    return Options(**{name: getattr(arguments, name) for name in Options.__dataclass_fields__})


def make_plan(options: Options, *, runs_dir: Path | None = None) -> Plan:
    """Check everything that can be checked without loading a model.

    A key given on the command line is put into this process's environment, under the name the pool file has for it.

    Raises:
        ConfigError: for the first thing that is wrong.
    """
    run_dir = _find_run(options, runs_dir or PROJECT_ROOT / "runs")
    run = runs.read_run_json(run_dir) if run_dir else {}
    model_path = options.model_path
    if model_path is None and options.base_url is None:
        assert run_dir is not None  # with no policy named, a run was found or an error raised
        folder = newest_policy(run_dir)
        if folder is None:
            raise ConfigError("command line", "--run", run_dir.name, "has no checkpoint yet; name another, or train on")
        model_path = str(folder)
    if model_path is not None:
        model_path = find_policy("command line", "--model_path", model_path)
    if options.base_url and options.replicas:
        raise ConfigError(
            "command line", "--replicas", options.replicas, "starts engines; --base_url names running ones"
        )
    pool_file = options.pool or run.get("pool")
    if pool_file is None:
        raise ConfigError("command line", "--pool", None, "is needed: this policy comes from no run that names a pool")
    simulated = _is_simulated(options, run, Path(pool_file))
    pool = load_pool(pool_file, base_url=_ANY_ENDPOINT if simulated else options.api_base)
    if simulated and options.cache != "off":
        raise ConfigError(
            "command line", "--cache", options.cache, "is for real candidates; simulated ones cost nothing"
        )
    if options.sim_qa:
        if not simulated:
            raise ConfigError("command line", "--sim_qa", None, "is for the simulated pool only; leave it out")
        find_files(options.sim_qa)
    if options.api_key:
        pool = _grant_key(pool, options.api_key)
    if not simulated:
        check_api_keys(pool)
    return Plan(
        model_path=model_path,
        base_urls=tuple(dict.fromkeys(options.base_url or ())),
        pool=pool,
        pool_file=Path(pool_file),
        routing=validated(RoutingConfig, "command line", {"budget_usd": options.budget_usd, "cache": options.cache}),
        template=load_template(options.template or run.get("template") or _template_for(model_path)),
        limits=_limits(options, run),
        sampling=Sampling(temperature=options.temperature, top_p=options.top_p, seed=options.seed),
        run_dir=run_dir,
        run=run,
        simulated=simulated,
        seed=options.seed,
        tensor_parallel_size=options.tensor_parallel_size,
        replicas=options.replicas,
        sim_qa=tuple(options.sim_qa or run.get("qa", ())) if simulated else (),
    )


def _find_run(options: Options, runs_dir: Path) -> Path | None:
    """The run that is meant: the named one, the one the model folder lies in, or, with no policy named, the newest."""
    if options.run is not None:
        folder = Path(options.run) if (Path(options.run) / "run.json").is_file() else runs_dir / options.run
        if not (folder / "run.json").is_file():
            raise ConfigError(
                "command line", "--run", options.run, f"is no run; those of {runs_dir} are {_names(runs_dir)}"
            )
        return folder.resolve()
    if options.model_path is not None:
        named = Path(options.model_path).expanduser().resolve()
        above = (named, *named.parents)
        return next((folder for folder in above if (folder / "run.json").is_file()), None)
    if options.base_url is not None:
        return None
    trained = [folder for folder in _all_runs(runs_dir) if newest_policy(folder) is not None]
    if not trained:
        remedy = f"is needed: there is no trained policy in {runs_dir} yet (bash train.sh makes one)"
        raise ConfigError("command line", "--model_path", None, remedy)
    return max(trained, key=lambda folder: newest_policy(folder).stat().st_mtime).resolve()  # type: ignore[union-attr]


def _all_runs(runs_dir: Path) -> list[Path]:
    return [file.parent for file in sorted(runs_dir.glob("*/run.json")) if not file.parent.is_symlink()]


def _names(runs_dir: Path) -> str:
    return ", ".join(folder.name for folder in _all_runs(runs_dir)) or "none"


def _is_simulated(options: Options, run: dict[str, Any], pool_file: Path) -> bool:
    if options.api_base is not None:
        return False
    if options.pool is None and run.get("simulated"):
        return True
    return pool_file.resolve() == SIMULATED_POOL


def _template_for(model_path: str | None) -> str:
    return "llama" if model_path and model_config(model_path).get("model_type") == "llama" else "qwen"


def _limits(options: Options, run: dict[str, Any]) -> RolloutLimits:
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
            "--api_key",
            None,
            f"the pool uses several keys, and one must not be sent to all: set {', '.join(sorted(variables))} instead",
        )
    variable = next(iter(variables), _GIVEN_KEY)
    os.environ[variable] = key
    keyed = [c.model_copy(update={"api_key_env": variable}) for c in pool.candidates]
    return RoutingPool(name=pool.name, candidates=tuple(keyed), source=pool.source)
