"""Where the files of the project are that are no Python: pools, experiments, and the configuration of veRL.

Their one home in the repository is `configs/` and `verl/` at its root; a build maps them into the package.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from router_r1.errors import ConfigError

_INSTALLED = "_project"


def project_root() -> Path:
    """The folder that holds `configs/` and `verl/`: the repository's root, or its copy in the installed package."""
    package = Path(str(resources.files("router_r1")))
    installed = package / _INSTALLED
    return installed if installed.is_dir() else package.parent


def pool_file(written: str | Path) -> Path:
    """A pool file by its path, or by the name of one that comes with the project (`sim`, `paper`).

    Raises:
        ConfigError: there is neither; the text lists the names there are.
    """
    return _named(written, project_root() / "configs" / "pools", "pool")


def pool_name(file: str | Path) -> str:
    """What `pool_file` finds this file by on another machine: its name, if it comes with the project, else its path."""
    path = Path(file)
    shipped = project_root() / "configs" / "pools" / f"{path.stem}.yaml"
    return path.stem if shipped.is_file() and path.exists() and path.samefile(shipped) else str(file)


def experiment_names() -> list[str]:
    """The experiments that come with the project."""
    return _names(project_root() / "configs" / "experiment")


def _named(written: str | Path, folder: Path, kind: str) -> Path:
    path = Path(written).expanduser()
    if path.is_file():
        return path
    shipped = folder / f"{written}.yaml"
    if len(path.parts) == 1 and shipped.is_file():
        return shipped
    remedy = f"is no file, and no {kind} of that name comes with the project; there are {', '.join(_names(folder))}"
    raise ConfigError(kind, "", str(written), remedy)


def _names(folder: Path) -> list[str]:
    """Of its YAML files; one whose name begins with an underscore is a part of others."""
    return sorted(file.stem for file in folder.glob("[!_]*.yaml"))
