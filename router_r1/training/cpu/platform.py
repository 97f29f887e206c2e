"""veRL's platform layer for plain CPUs.

Imported by veRL itself in every process (`VERL_USE_EXTERNAL_MODULES=router_r1.training.cpu.platform`), and chosen by
`VERL_PLATFORM=cpu`.
"""

from __future__ import annotations

import functools
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import psutil
import torch
import verl.utils.distributed
from verl.plugin.platform import PlatformBase, PlatformRegistry

from router_r1 import memory


class _CpuDeviceModule(ModuleType):
    """`torch.cpu`, completed by the functions of `torch.cuda` that veRL calls on `get_torch_device()`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)

    is_available = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    get_device_name = staticmethod(lambda *_: "CPU")
    empty_cache = ipc_collect = reset_peak_memory_stats = staticmethod(lambda *_, **__: None)
    set_per_process_memory_fraction = staticmethod(lambda *_, **__: None)
    memory_allocated = memory_reserved = staticmethod(lambda *_: psutil.Process().memory_info().rss)
    max_memory_allocated = max_memory_reserved = staticmethod(
        lambda *_: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    mem_get_info = staticmethod(lambda *_: (psutil.virtual_memory().available, psutil.virtual_memory().total))
    get_rng_state = staticmethod(lambda *_: torch.get_rng_state())
    set_rng_state = staticmethod(lambda state, *_: torch.set_rng_state(state))
    manual_seed = manual_seed_all = staticmethod(torch.manual_seed)


_DEVICE_MODULE = _CpuDeviceModule("router_r1_torch_cpu")


@PlatformRegistry.register(platform="cpu")
class CpuPlatform(PlatformBase):
    """One "device" per training process; Ray's logical GPUs count as CPU slots (see `ray_resource_name`)."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _DEVICE_MODULE

    def is_available(self) -> bool:
        return True

    def current_device(self) -> torch.device:
        # veRL hands this to Tensor.to(); an int would mean "accelerator number n" to torch.
        return torch.device("cpu")

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        pass

    def synchronize(self, device_index: int | None = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return (None, None)

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "VERL_CPU_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        pass

    def profiler_stop(self) -> None:
        pass

    def ray_resource_name(self) -> str:
        # veRL's ResourcePoolManager counts only GPU and NPU, and its vLLM replica looks its devices up under this name:
        # a logical GPU, which the CPU configuration declares to Ray, stands for one training process.
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def is_ipc_supported(self) -> bool:
        return False  # weights then go to vLLM over ZMQ and POSIX shared memory

    def cudart(self) -> None:
        return None


def threads_per_worker(workers: int) -> int:
    """An equal share of the cores that this process may use, at least one."""
    return max(1, len(os.sched_getaffinity(0)) // workers)


def _use_one_gloo_group() -> None:
    """Make veRL's process group on this platform "cpu:gloo".

    veRL builds f"cpu:gloo,{device}:{backend}", which here is "cpu:gloo,cpu:gloo": torch refuses a device named twice.
    Its trainers in Ray and its SFT trainer have a function of their own for that; here both come to the same.
    Only training workers create the group, so this is also where the CPU engines are registered, since importing them
    costs seconds and no other process needs them, and where workers take their share of the cores: nothing else
    computes while they do.
    """
    upstream = verl.utils.distributed.initialize_global_process_group_ray

    @functools.wraps(upstream)
    def initialize_global_process_group_ray(timeout_second: int | None = None, backend: str | None = None) -> None:
        import router_r1.training.cpu.engines  # noqa: F401  registers the engines

        upstream(timeout_second=timeout_second, backend=backend or "cpu:gloo")
        beside = os.environ.get("RAY_LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_WORLD_SIZE", "1")
        torch.set_num_threads(threads_per_worker(int(beside)))
        memory.settle()

    def initialize_global_process_group(timeout_second: int = 36000) -> tuple[int, int, int]:
        initialize_global_process_group_ray(timeout_second)
        rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        return int(os.environ["LOCAL_RANK"]), rank, world_size

    verl.utils.distributed.initialize_global_process_group_ray = initialize_global_process_group_ray
    verl.utils.distributed.initialize_global_process_group = initialize_global_process_group


_use_one_gloo_group()
