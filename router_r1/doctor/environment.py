"""Packages, CUDA as torch sees it, a kernel on every GPU, and access to gated models."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from router_r1.doctor.check import Check, failure, ok, skipped, warning

NEEDED_FOR = {
    "data and reports": ("datasets", "fastapi", "jinja2", "matplotlib", "pyarrow", "transformers", "uvicorn"),
    "policies": ("torch", "vllm"),
    "training": ("hydra", "ray", "verl", "tensordict"),
}
"""What for -> modules."""

KERNEL_TIMEOUT_S = 180.0

NO_FLASH_ATTN = (
    "bash scripts/setup.sh --gpu on Python 3.12 has a wheel; without it a training takes torch's attention (sdpa), and "
    "PPO's critic cannot be trained"
)


def check_packages() -> list[Check]:
    """Modules, by what they are needed for; none of them is imported."""
    checks = []
    for purpose, modules in NEEDED_FOR.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        name = f"packages for {purpose}"
        if missing:
            checks.append(warning(name, f"missing: {', '.join(missing)}", "bash scripts/setup.sh installs all of them"))
        else:
            checks.append(ok(name, "all there"))
    return checks


def check_kernels(gpus: int) -> list[Check]:
    """CUDA and flash_attn, by running them.

    Args:
        gpus: how many the machine has.
    """
    if not gpus:
        return [skipped("CUDA", "no GPU here"), skipped("flash_attn", "no GPU here")]
    if importlib.util.find_spec("torch") is None:
        return [failure("CUDA", "torch is not installed", "bash scripts/setup.sh --gpu")]
    command = [sys.executable, "-m", "router_r1.doctor.kernel", "--gpu"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=KERNEL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return [
            failure("CUDA", f"no kernel ended within {KERNEL_TIMEOUT_S:.0f} s", "nvidia-smi tells who holds the GPU")
        ]
    told = (done.stdout.strip() or done.stderr.strip() or f"ended with {done.returncode}").splitlines()[-1]
    if done.returncode:
        remedy = "driver and set must fit (bash scripts/setup.sh --gpu), and the GPUs be this process's to use"
        return [failure("CUDA", told, remedy)]
    if importlib.util.find_spec("flash_attn") is None:
        return [ok("CUDA", told), warning("flash_attn", "is not installed", NO_FLASH_ATTN)]
    return [ok("CUDA", told), ok("flash_attn", "ran, and agrees with torch's own attention")]


def check_hub_token(model: str | None = None) -> Check:
    """Whether there is a token for gated models; it is never shown.

    Args:
        model: a hub id that somebody means to train.
    """
    name, gated = "hub token", bool(model and model.startswith(("meta-llama/", "google/gemma", "mistralai/")))
    found = next((variable for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(variable)), None)
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"))
    file = Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    if found or (file.is_file() and file.stat().st_size):
        return ok(name, f"there is one ({found or file}); it was not tried")
    remedy = "accept the model's terms on the hub, then: hf auth login, or export HF_TOKEN"
    if gated:
        return failure(name, f"none, and {model} is gated", remedy)
    return skipped(name, "none; only gated models want one (Llama's, not Qwen's)", remedy)
