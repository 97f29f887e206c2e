"""The environment variables that vLLM wants before it is imported."""

from __future__ import annotations

import os

ALWAYS = {
    "VLLM_LOGGING_LEVEL": "ERROR",  # its warnings are about settings chosen here
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # standard output belongs to results
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCHDYNAMO_DISABLE": "1",  # inductor would compile for longer than a small run takes
}


def prepare(*, cpu: bool) -> None:
    """Set the defaults in this process, for itself and the engine's processes; what the user has set stays."""
    for name, value in {**ALWAYS, **(CPU if cpu else {})}.items():
        os.environ.setdefault(name, value)
