"""Hardware and system: GPUs and their driver, disks, memory, limits. Standard library only.

`python -m router_r1.doctor.machine FOLDER` is what the set-up runs before it downloads the GPU set for FOLDER: it
prints what is amiss, a line each, and ends with 1 if something of it would make the set useless.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from router_r1.doctor.check import Check, Status, failure, ok, skipped, warning
from router_r1.machine import accelerators, memory_gb

CUDA = "13.0"
MIN_DRIVER = 580
"""Of CUDA 13.x, by NVIDIA's release notes of the toolkit. torch 2.11.0 of the GPU set is built for 13.0."""

MIN_COMPUTE = 8.0
"""bfloat16 and flash-attn 2 want Ampere or newer."""

MIN_GLIBC = (2, 31)
"""llguidance, which vLLM asks for, has its wheel for manylinux_2_31."""

INSTALL_GB, DOWNLOAD_GB = 20.0, 6.0
"""The GPU set downloads 4.6 GB (counted, requirements/gpu.lock); unpacked believed to be thrice that; a reserve."""

MIN_SHM_GB, GOOD_SHM_GB = 1.0, 16.0
"""NCCL and the exchange of weights use /dev/shm, and so does Ray's object store, which else goes to a disk."""

MIN_MEMORY_GB = 28.0
"""What the smallest training of docs/plan.md needs of a host."""

CPUS_PER_GPU = 3
"""veRL 0.9.1 asks Ray for 3 CPUs with each GPU, and waits for ever where there are fewer."""

MIN_FILES, GOOD_FILES = 1024, 65_536
"""Open files: a route in flight is a socket, and every process of Ray has hundreds. Ray's own advice is 65,536."""


@dataclass(frozen=True)
class NvidiaGpu:
    """A line of `nvidia-smi --query-gpu`."""

    name: str
    memory_mib: int
    driver: str
    compute: float


def nvidia_gpus() -> list[NvidiaGpu]:
    """What nvidia-smi tells.

    Raises:
        OSError: it is not there, or does not answer; the text is its own first line.
    """
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version,compute_cap", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        raise OSError("nvidia-smi does not answer within 30 s") from None
    if done.returncode:
        told = (done.stdout + done.stderr).strip().splitlines()
        raise OSError(told[0] if told else f"nvidia-smi ended with {done.returncode}")
    rows = [[value.strip() for value in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    return [NvidiaGpu(row[0], int(_number(row[1])), row[2], _number(row[3])) for row in rows if len(row) == 4]


def _number(text: str) -> float:
    """0 for `[N/A]`."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def check_gpus() -> list[Check]:
    """GPUs, their driver, and whether it runs the CUDA of the GPU set."""
    if shutil.which("nvidia-smi") is None:
        return [
            skipped("GPUs", "no nvidia-smi here", "training on GPUs needs NVIDIA's driver; without it, platform=cpu")
        ]
    try:
        found = nvidia_gpus()
    except OSError as fault:
        return [
            failure("driver", str(fault), "mend the driver: `nvidia-smi` must list the GPUs (reboot, or reinstall)")
        ]
    if not found:
        return [
            failure("GPUs", "nvidia-smi lists none", "give the machine or the container GPUs: docker run --gpus all")
        ]
    kinds = sorted({f"{gpu.name} {gpu.memory_mib / 1024:.0f} GiB" for gpu in found})
    checks = [ok("GPUs", f"{len(found)} x {', '.join(kinds)}; {accelerators()} may be used")]
    driver = found[0].driver
    if (major := re.match(r"\d+", driver)) and int(major[0]) >= MIN_DRIVER:
        checks.append(ok("driver", f"{driver}, which runs CUDA {CUDA}"))
    else:
        remedy = f"CUDA {CUDA} of the GPU set wants {MIN_DRIVER} or newer: have the driver updated"
        checks.append(failure("driver", driver, remedy))
    old = sorted({f"{gpu.name} ({gpu.compute})" for gpu in found if gpu.compute < MIN_COMPUTE})
    if old:
        remedy = f"bfloat16 and flash-attn want {MIN_COMPUTE} (A100, A10, RTX 30) or newer; train elsewhere"
        checks.append(failure("compute capability", ", ".join(old), remedy))
    return checks


def check_system(minors: tuple[int, ...] = (12, 11)) -> list[Check]:
    """Python and the C library: what wheels must fit."""
    here = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    checks = [ok("system", here)]
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        checks = [failure("system", here, "the locked sets are for Linux on x86-64")]
    elif sys.version_info[:2] not in [(3, minor) for minor in minors]:
        wanted = " or ".join(f"3.{minor}" for minor in minors)
        checks = [failure("system", here, f"the GPU set is for Python {wanted}: PYTHON=/path/to/python3.12")]
    version = tuple(int(part) for part in re.findall(r"\d+", platform.libc_ver()[1])[:2])
    if version and version < MIN_GLIBC:
        remedy = (
            "its wheels want glibc 2.31 (Ubuntu 20.04, Debian 11, RHEL 9) or newer: use a newer system or container"
        )
        checks.append(failure("glibc", ".".join(map(str, version)), remedy))
    return checks


def check_disk(folder: Path, needed_gb: float, name: str = "disk", purpose: str = "are needed") -> Check:
    """Free space where `folder` is, or will be."""
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    if free >= needed_gb:
        return ok(name, f"{free:.0f} GB free in {folder}")
    return failure(name, f"{free:.1f} GB free in {folder}", f"{needed_gb:.0f} GB {purpose}: free some, or use another")


def check_shm(folder: Path = Path("/dev/shm")) -> Check:
    """Shared memory."""
    try:
        size = shutil.disk_usage(folder).total / 1e9
    except OSError:
        return failure(str(folder), "is not there", "mount it: mount -t tmpfs -o size=64g tmpfs /dev/shm")
    remedy = "docker run --shm-size=64g (or --ipc=host); in Kubernetes an emptyDir of medium Memory at /dev/shm"
    if size < MIN_SHM_GB:
        return failure(str(folder), f"{size:.2f} GB", f"NCCL and the exchange of weights need more: {remedy}")
    if size < GOOD_SHM_GB:
        return warning(str(folder), f"{size:.0f} GB", f"Ray's object store goes to a disk: {remedy}")
    return ok(str(folder), f"{size:.0f} GB")


def check_memory(needed_gb: float = MIN_MEMORY_GB) -> Check:
    """The host's memory, and the container's share of it."""
    total = min([memory_gb(), *_cgroup_memory_gb()])
    if total >= needed_gb:
        return ok("memory", f"{total:.0f} GB")
    remedy = f"the smallest training on a GPU needs {needed_gb:.0f} GB; `router-r1 plan` tells what yours needs"
    return failure("memory", f"{total:.0f} GB", remedy)


def _cgroup_memory_gb() -> list[float]:
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return []
    return [] if limit == "max" else [int(limit) / 1e9]


def usable_cpus() -> int:
    """CPUs that this process may run on, by affinity and the container's quota."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))


def check_cpus(gpus: int) -> Check:
    """CPUs for each GPU."""
    cpus = usable_cpus()
    if not gpus:
        return ok("CPUs", str(cpus))
    found = f"{cpus} for {gpus} GPUs"
    if cpus >= CPUS_PER_GPU * gpus:
        return ok("CPUs", found)
    fits = cpus // CPUS_PER_GPU
    fewer = f", or train on fewer GPUs: trainer.n_gpus_per_node={fits}" if fits else ""
    remedy = f"a training would wait for ever for {CPUS_PER_GPU} a GPU: ask for {CPUS_PER_GPU * gpus} CPUs{fewer}"
    return failure("CPUs", found, remedy)


def check_files(limit: int | None = None) -> Check:
    """`ulimit -n`."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    if soft in (resource.RLIM_INFINITY, -1) or soft >= GOOD_FILES:
        return ok("open files", "unlimited" if soft in (resource.RLIM_INFINITY, -1) else f"{soft:,}")
    remedy = f"ulimit -n {GOOD_FILES} in the shell that starts the run, before Ray is started"
    return (failure if soft < MIN_FILES else warning)("open files", f"{soft:,}", remedy)


def before_install(folder: Path) -> list[Check]:
    """What decides whether the GPU set can be installed for `folder`, and, where there are GPUs, used here."""
    needs = [
        *check_system(),
        check_disk(folder, INSTALL_GB, purpose="are needed for the GPU set"),
        check_disk(
            Path(tempfile.gettempdir()), DOWNLOAD_GB, "temporary files", "are needed while pip downloads (TMPDIR)"
        ),
        *(gpus := check_gpus()),
    ]
    if all(check.status is Status.SKIPPED for check in gpus):  # a login node installs for others
        return needs
    return [*needs, check_shm(), check_memory()]


def main() -> int:
    checks = before_install(Path(sys.argv[1]))
    for check in checks:
        if check.status is not Status.OK:
            print(f"{check.status}: {check}")
    return int(any(check.status is Status.FAILURE for check in checks))


if __name__ == "__main__":
    sys.exit(main())
