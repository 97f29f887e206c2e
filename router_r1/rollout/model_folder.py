"""A policy in Hugging Face format: is it there, and what of it is needed before an engine starts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_r1.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TORCH_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def check_model_path(source: str, key: str, path: str | Path) -> None:
    """Refuse a model folder that is not there. `owner/name` is taken for a hub id unless such a folder exists.

    Raises:
        ConfigError: it is neither, or the folder holds no model.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        for name in ("config.json", "tokenizer_config.json"):
            if not (folder / name).is_file():
                raise ConfigError(source, key, str(path), f"is a folder without {name}: no Hugging Face model")
    elif folder.exists():
        raise ConfigError(source, key, str(path), "is a file; give the folder of a Hugging Face model")
    elif str(path).startswith((".", "/", "~")) or str(path).count("/") != 1:
        raise ConfigError(source, key, str(path), "does not exist; give a model folder or a hub id owner/name")


def model_config(path: str | Path) -> dict[str, Any]:
    """The model's `config.json`; {} for a hub id.

    Raises:
        ConfigError: the file is no JSON object.
    """
    file = Path(path).expanduser() / "config.json"
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise ConfigError(file, "", None, f"is not valid JSON: {fault}") from None
    if not isinstance(config, dict):
        raise ConfigError(file, "", None, "must be a JSON object")
    return config


def stored_dtype(path: str | Path) -> str | None:
    """The type most of the model's tensors are stored in, as torch names it ("float32").

    `config.json` cannot be trusted with it: veRL writes "bfloat16" there, whatever it stores. None where there are no
    safetensors here (a hub id, `*.bin`), and for a type that nothing is computed in (quantized weights).

    Raises:
        ConfigError: the file of weights is damaged.
    """
    from safetensors import SafetensorError, safe_open

    file = min(Path(path).expanduser().glob("*.safetensors"), default=None)
    if file is None:
        return None
    try:
        with safe_open(file, framework="numpy") as tensors:
            names = tensors.keys()
            types = Counter(tensors.get_slice(name).get_dtype() for name in names)
    except SafetensorError as fault:
        raise ConfigError(file, "", None, f"is no whole safetensors file, copy it again: {fault}") from None
    return _TORCH_DTYPES.get(types.most_common(1)[0][0]) if types else None


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder or hub id.

    Raises:
        ConfigError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(Path(path).expanduser()) if Path(path).expanduser().is_dir() else path)
    except (OSError, ValueError) as fault:
        reason = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
        raise ConfigError(path, "tokenizer", None, f"cannot be loaded: {reason}") from None
