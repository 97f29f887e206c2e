"""What a user adds: one object in a file of their own, named in a configuration, and called with what it asks for.

A function or class of the user's names, as its parameters, the things it wants (`trajectory`, `golden_answers`, ...);
which there are is said where it is called.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from router_r1.errors import ConfigError

T = TypeVar("T")


def load_object(source: object, key: str, written: str) -> Any:
    """The object that a dotted path names.

    Args:
        source: where it was written, for the error.
        key: under which name.
        written: `package.module:name`, `package.module.name`, or `path/to/file.py:name`. Modules are searched for in
            the current folder first, as `python -m` does.

    Raises:
        ConfigError: there is no such module or name, or importing it fails.
    """
    place, _, name = written.rpartition(":" if ":" in written else ".")
    if not place or not name:
        raise ConfigError(source, key, written, "must be written package.module:name or path/to/file.py:name")
    try:
        module = _file_module(place) if place.endswith(".py") else _module(place)
    except (Exception, SystemExit) as fault:  # whatever a module of the user's raises when it is imported
        words = " ".join(str(fault).split())
        raise ConfigError(source, key, written, f"cannot be imported: {type(fault).__name__}: {words}") from fault
    if not hasattr(module, name):
        there = ", ".join(_own_names(module)) or "nothing"
        raise ConfigError(source, key, written, f"{place} has no {name}; it has {there}")
    return getattr(module, name)


def find(source: object, key: str, written: str, known: Mapping[str, T]) -> T:
    """What is meant by a name of `known`, or else by a dotted path.

    Raises:
        ConfigError: neither; the text lists the names there are.
    """
    if written in known:
        return known[written]
    if ":" not in written and "." not in written:
        there = f"is none of {', '.join(known)}; name one, or" if known else "is no name known here; give"
        remedy = f"{there} a dotted path like package.module:name or path/to/file.py:name"
        raise ConfigError(source, key, written, remedy)
    found: T = load_object(source, key, written)
    return found


def anchored(written: str) -> str:
    """The same dotted path, but that a `path/to/file.py:name` means the same file in whatever folder it is read."""
    place, _, name = written.rpartition(":")
    return f"{Path(place).expanduser().resolve()}:{name}" if place.endswith(".py") else written


def call_with(function: Callable[..., T], **available: Any) -> T:
    """Call a function, or make an object of a class, with those of the `available` arguments that it asks for."""
    return function(**{name: available[name] for name in asked_of(function, available)})


def asked_of(function: Callable[..., Any], available: Iterable[str]) -> list[str]:
    """Which of the `available` arguments a function, or a class, asks for."""
    asked = inspect.signature(function).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in asked.values())
    return [name for name in available if takes_all or name in asked]


def check_asks(source: object, key: str, function: Callable[..., Any], available: Iterable[str]) -> None:
    """See, before anything starts, that a user's function can be called with what there is.

    Raises:
        ConfigError: it is no callable, or asks for something that there is not.
    """
    name = getattr(function, "__qualname__", repr(function))
    if not callable(function):
        raise ConfigError(source, key, name, "must be a function or a class")
    there = tuple(available)
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError as fault:  # of some functions written in C
        raise ConfigError(source, key, name, f"does not say what it asks for: {fault}") from fault
    for parameter in parameters:
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ConfigError(source, key, name, f"takes {parameter.name!r} by position only, and is called by name")
        is_free = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if not is_free and parameter.default is parameter.empty and parameter.name not in there:
            can_have = ", ".join(there) or "nothing"
            raise ConfigError(source, key, name, f"asks for {parameter.name!r}; it can have {can_have}")


def check_call(source: object, key: str, owner: object, name: str, *, arguments: Sequence[str], waits: bool) -> None:
    """See that a user's class, or an object of it, has a method that can be called as it will be.

    Args:
        owner: the object, or the class that it will be of.
        name: of the method.
        arguments: names of what it is called with; one written `name=` is passed by name, the others by position.
        waits: it must be asynchronous; else it must not.

    Raises:
        ConfigError: there is no such method, or it is called otherwise.
    """
    method = getattr(owner, name, None)
    kind = owner if isinstance(owner, type) else type(owner)
    shown = f"{kind.__qualname__}.{name}"
    wanted = f"{'async ' if waits else ''}def {name}({signature_of(arguments)})"
    if not callable(method):
        raise ConfigError(source, key, kind.__qualname__, f"must have a method {name}: {wanted}")
    if inspect.iscoroutinefunction(inspect.unwrap(method)) is not waits:
        raise ConfigError(source, key, shown, f"must {'' if waits else 'not '}be asynchronous: {wanted}")
    by_name = {argument.removesuffix("="): "" for argument in arguments if argument.endswith("=")}
    is_unbound = kind is owner and inspect.isfunction(inspect.getattr_static(owner, name))
    try:
        inspect.signature(method).bind(*[""] * (len(arguments) - len(by_name) + is_unbound), **by_name)
    except TypeError as fault:
        raise ConfigError(source, key, shown, f"cannot be called: {fault}; must be {wanted}") from None


def signature_of(arguments: Sequence[str]) -> str:
    """As it is written: `self, question, *, request_id`."""
    by_position = [argument for argument in arguments if not argument.endswith("=")]
    by_name = [argument.removesuffix("=") for argument in arguments if argument.endswith("=")]
    return ", ".join(["self", *by_position, *(["*", *by_name] if by_name else [])])


def _own_names(module: ModuleType) -> list[str]:
    """What a module defines: not what it imports."""
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


def _module(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:  # an installed command does not look into the current folder by itself
        sys.path.insert(0, here)
    return importlib.import_module(name)


def _file_module(written: str) -> Any:
    path = Path(written).expanduser().resolve()
    name = f"router_r1_user_{path.stem}_{abs(hash(str(path)))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
