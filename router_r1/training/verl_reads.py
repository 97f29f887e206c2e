"""Which keys of its configuration veRL's V1 trainer reads, found in its source.

veRL's YAML has hundreds of keys, for several trainers and engines. One that nothing reads is accepted in silence, and
whoever sets it believes in it. So the source of what runs here (V1 trainer, FSDP engine, vLLM's rollout) is read as
syntax, without being imported: a table says what the names at its borders stand for, assignments say what follows from
them, and each expression that leads into the configuration is a read of that key. What is only checked is not read.

The table is of veRL 0.9.1; `tests/unit/training/test_effectiveness.py` fails if a release changes what it rests on.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_ACTOR, _REF, _CRITIC = "actor_rollout_ref.actor", "actor_rollout_ref.ref", "critic"
_ROLLOUT, _MODEL = "actor_rollout_ref.rollout", "actor_rollout_ref.model"
_ENGINES = (f"{_ACTOR}.fsdp_config", f"{_REF}.fsdp_config", f"{_CRITIC}.fsdp")
_MODELS, _OPTIMIZERS = (_MODEL, f"{_CRITIC}.model"), (f"{_ACTOR}.optim", f"{_CRITIC}.optim")
_CHECKPOINTS = (f"{_ACTOR}.checkpoint", f"{_CRITIC}.checkpoint")
_DISTILLATION_LOSS, _TEACHER = "distillation.distillation_loss", "distillation.teacher_models.teacher_model"
_ROOT = ("",)

Paths = tuple[str, ...]
"""Dotted keys that an expression may stand for; "" is the whole configuration."""


@dataclass(frozen=True)
class _Source:
    """A file of veRL, or one class or function of it, and what its free names stand for."""

    file: str
    names: Mapping[str, Paths]
    within: str | None = None
    """Name of the class or function; None for the whole file."""


_WHOLE_CONFIG = {
    "config": _ROOT,
    "self.config": _ROOT,
    "self.rollout_config": (_ROLLOUT,),
    "self.model_config": (_MODEL,),
}
_WORKER = {
    "self.engine_config": _ENGINES,
    "self.model_config": _MODELS,
    "self.optimizer_config": _OPTIMIZERS,
    "self.checkpoint_config": _CHECKPOINTS,
}


def _also_of_self(**names: Paths) -> dict[str, Paths]:
    return names | {f"self.{name}": paths for name, paths in names.items()}


_SERVER = _also_of_self(config=(_ROLLOUT, f"{_TEACHER}.inference"), model_config=(_MODEL,))
_TEACHING = _also_of_self(
    distillation_config=("distillation",),
    distillation_loss_config=(_DISTILLATION_LOSS,),
    loss_config=(_DISTILLATION_LOSS,),
    teacher_model_config=(_TEACHER,),
)

_SOURCES = (
    *(
        _Source(file, _WHOLE_CONFIG)
        for file in (
            "trainer/main_ppo.py",
            "trainer/constants_ppo.py",
            "trainer/ppo/checkpoint_callback.py",
            "trainer/ppo/utils.py",
            "trainer/ppo/v1/agent_loop_tq.py",
            "trainer/ppo/v1/trainer_base.py",
            "trainer/ppo/v1/trainer_colocate_async.py",
            "trainer/ppo/v1/trainer_separate_async.py",
            "trainer/ppo/v1/trainer_sync.py",
            "experimental/agent_loop/agent_loop.py",
            "experimental/reward_loop/reward_loop.py",
            "utils/tracking.py",
            "workers/rollout/llm_server.py",
        )
    ),
    _Source("experimental/teacher_loop/teacher_manager.py", _TEACHING),
    _Source("experimental/teacher_loop/teacher_model.py", _TEACHING),
    _Source("trainer/distillation/losses.py", _TEACHING),
    _Source("trainer/distillation/losses.py", {"config": ("distillation",)}, within="is_distillation_enabled"),
    _Source("trainer/distillation/fsdp/losses.py", {"config": ("distillation",)}, within="compute_forward_kl_topk"),
    _Source("trainer/ppo/utils.py", {"data_config": ("data",)}, within="create_rl_sampler"),
    _Source("trainer/ppo/core_algos.py", {"kl_ctrl": ("algorithm.kl_ctrl",)}, within="get_kl_controller"),
    _Source("trainer/ppo/core_algos.py", {}),
    _Source("trainer/ppo/ray_trainer.py", {"config": ("algorithm",)}, within="compute_advantage"),
    _Source("trainer/ppo/v1/utils.py", {"config": ("algorithm",)}),
    _Source("trainer/ppo/rollout_corr_helper.py", {}),
    _Source("utils/dataset/rl_dataset.py", {"config": ("data",), "self.config": ("data",), "data_config": ("data",)}),
    _Source("utils/fsdp_utils.py", {"config": _ENGINES}, within="apply_fsdp2"),
    _Source("utils/checkpoint/checkpoint_manager.py", {"checkpoint_config": _CHECKPOINTS}),
    _Source("utils/checkpoint/fsdp_checkpoint_manager.py", {"self.checkpoint_config": _CHECKPOINTS}),
    _Source("workers/config/actor.py", {"self": (_ACTOR, _REF)}, within="FSDPActorConfig"),
    _Source("workers/config/critic.py", {"self": (_CRITIC,)}, within="FSDPCriticConfig"),
    _Source("workers/config/model.py", {"self": _MODELS}, within="HFModelConfig"),
    _Source("workers/config/optimizer.py", {"self": _OPTIMIZERS, "config": _OPTIMIZERS}),
    _Source("workers/engine/fsdp/transformer_impl.py", _WORKER),
    _Source("workers/engine/fsdp/utils.py", {}),
    _Source("workers/engine_workers.py", _WORKER, within="TrainingWorker"),
    _Source("workers/engine_workers.py", {"self.config": ("actor_rollout_ref",)}, within="ActorRolloutRefWorker"),
    _Source("workers/rollout/replica.py", _SERVER),
    _Source("workers/rollout/vllm_rollout/utils.py", _SERVER),
    _Source("workers/rollout/vllm_rollout/vllm_async_server.py", _SERVER),
    _Source("workers/rollout/vllm_rollout/vllm_rollout.py", _SERVER),
    _Source("workers/utils/losses.py", {"config": (_ACTOR,)}, within="ppo_loss"),
    _Source("workers/utils/losses.py", {"config": (_CRITIC,)}, within="value_loss"),
)

_BY_ANNOTATION = {
    "ActorConfig": (_ACTOR,),
    "AlgoConfig": ("algorithm",),
    "CriticConfig": (_CRITIC,),
    "FSDPEngineConfig": _ENGINES,
    "FSDPOptimizerConfig": _OPTIMIZERS,
    "HFModelConfig": _MODELS,
    "RolloutConfig": (_ROLLOUT,),
    "RolloutCorrectionConfig": ("algorithm.rollout_correction",),
}
"""What a parameter with this dataclass as its annotation stands for."""

_SAME_AS = {  # where a dataclass keeps a part under another name
    f"{_ACTOR}.engine": _ENGINES[0],
    f"{_REF}.engine": _ENGINES[1],
    f"{_CRITIC}.engine": _ENGINES[2],
    f"{_ACTOR}.model_config": _MODEL,
    f"{_REF}.model_config": _MODEL,
}

HANDED_ON = (
    "actor_rollout_ref.model.override_config",
    "actor_rollout_ref.rollout.engine_kwargs",
    "critic.model.override_config",
    "data.apply_chat_template_kwargs",
    "ray_kwargs.ray_init",
    "trainer.v1.sampler.sampler_kwargs",
    "transfer_queue",
)
"""Sections that veRL hands on whole, to transformers, vLLM, the chat template, Ray, our sampler and TransferQueue."""

_SAME_VALUE = {"omega_conf_to_dataclass", "deepcopy", "to_container", "convert_to_regular_types"}
_LOOKUPS = {"get", "pop"}
_CHECKS = {"validate", "_check_mutually_exclusive"}


@cache
def keys_read() -> dict[str, str]:
    """Dotted key -> where veRL reads it first (`trainer/ppo/v1/trainer_base.py:267`).

    Takes a second once. A section that is read as a whole is in it too, without its keys.

    Raises:
        FileNotFoundError: the installed veRL is of another version, and lacks a file of the table.
    """
    folder = verl_folder()
    found: dict[str, str] = {}
    for source in _SOURCES:
        tree = ast.parse((folder / source.file).read_text(encoding="utf-8"))
        for node in _parts(tree, source.within):
            for path, line in _Reader(source.names).reads(node):
                found.setdefault(path, f"{source.file}:{line}")
    return found


def verl_folder() -> Path:
    spec = importlib.util.find_spec("verl")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def _parts(tree: ast.Module, within: str | None) -> Iterator[ast.AST]:
    if within is None:
        yield tree
        return
    found = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == within]
    if not found:
        raise FileNotFoundError(within)
    yield from found


@dataclass
class _Reader:
    """Collects reads in the order of the source, so that an assignment is known before what it is used for."""

    names: Mapping[str, Paths]
    _found: list[tuple[str, int]] = field(default_factory=list)

    def reads(self, node: ast.AST) -> list[tuple[str, int]]:
        self._visit(node, dict(self.names))
        return self._found

    def _visit(self, node: ast.AST, names: dict[str, Paths]) -> None:
        if isinstance(node, ast.ClassDef):
            names = {**names, **self._attributes(node, names)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name in _CHECKS:
                return
            names = {**names, **_parameters(node)}
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            self._visit(node.value, names)
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            paths = _paths(node.value, names)
            for target in targets:
                if paths and (name := _assigned(target)):
                    names[name] = paths
            return
        elif isinstance(node, ast.expr) and (paths := _paths(node, names)):
            self._found += [(path, node.lineno) for path in paths]
        for child in ast.iter_child_nodes(node):
            self._visit(child, names)

    def _attributes(self, node: ast.ClassDef, names: Mapping[str, Paths]) -> dict[str, Paths]:
        """What `self.x` stands for in a class where a method has assigned it."""
        found: dict[str, Paths] = {}
        for method in node.body:
            if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            known = {**names, **_parameters(method), **found}
            for inner in ast.walk(method):
                if isinstance(inner, ast.Assign | ast.AnnAssign) and inner.value is not None:
                    targets = inner.targets if isinstance(inner, ast.Assign) else [inner.target]
                    for target in map(_assigned, targets):
                        if target and target.startswith("self.") and (paths := _paths(inner.value, known)):
                            found[target] = known[target] = paths
        return found


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, Paths]:
    known: dict[str, Paths] = {}
    for argument in (*function.args.args, *function.args.kwonlyargs):
        words = set() if argument.annotation is None else _words(argument.annotation)
        for name, paths in _BY_ANNOTATION.items():
            if name in words:
                known[argument.arg] = paths
    return known


def _words(annotation: ast.expr) -> set[str]:
    return {n.id for n in ast.walk(annotation) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(annotation) if isinstance(n, ast.Attribute)
    }


def _paths(node: ast.AST, names: Mapping[str, Paths]) -> Paths:
    """What an expression stands for; () if it does not lead into the configuration."""
    if isinstance(node, ast.Name):
        return names.get(node.id, ())
    if isinstance(node, ast.Attribute):
        return names.get(_dotted(node) or "") or _below(_paths(node.value, names), node.attr)
    if isinstance(node, ast.Subscript) and (key := _text(node.slice)):
        return _below(_paths(node.value, names), key)
    if isinstance(node, ast.BoolOp):
        return tuple(path for value in node.values for path in _paths(value, names))
    if isinstance(node, ast.Call):
        return _paths_of_call(node, names)
    return ()


def _paths_of_call(node: ast.Call, names: Mapping[str, Paths]) -> Paths:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    arguments: Sequence[ast.expr] = node.args
    if called in _LOOKUPS and isinstance(node.func, ast.Attribute) and arguments and (key := _text(arguments[0])):
        return _below(_paths(node.func.value, names), key)
    if called in ("getattr", "select") and len(arguments) >= 2 and (key := _text(arguments[1])):
        return _below(_paths(arguments[0], names), key)
    if called in _SAME_VALUE and arguments:
        return _paths(arguments[0], names)
    return ()


def _below(paths: Paths, key: str) -> Paths:
    joined = (f"{path}.{key}" if path else key for path in paths)
    return tuple(_SAME_AS.get(path, path) for path in joined)


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _assigned(target: ast.expr) -> str | None:
    """The name `x` or `self.x` that a value gets; None for a key of the configuration that is written over."""
    name = _dotted(target)
    return name if name and name.removeprefix("self.").count(".") == 0 else None


def _dotted(node: ast.expr) -> str | None:
    """`self.config` as it is written; None for what is no name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value)):
        return f"{owner}.{node.attr}"
    return None
