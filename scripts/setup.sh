#!/usr/bin/env bash
# Make the project's own Python environment, or see that it is there. Everything that runs Python here calls this first.
#
#   bash scripts/setup.sh [--cpu|--gpu] [--dev] [--venv DIR] [--unchecked] [--dry-run] [--quiet]
#
#   --cpu, --gpu   which set to install; without either: the one the environment already has, else gpu where an NVIDIA GPU
#                  is seen, else cpu
#   --dev          what tests and linters need as well
#   --venv DIR     where (default: $ROUTER_R1_VENV, else .venv in the project)
#   --unchecked    install the GPU set though driver, disk, memory or /dev/shm do not fit it
#   --dry-run      print the commands a first run would need, and do nothing
#   --quiet        say nothing when there is nothing to do
#
# $PYTHON names the interpreter to build with. Messages go to stderr, pip's output to DIR.log.
#
# A stamp per set, written last and only after a successful install, makes the second run a comparison of two short texts. Without
# a matching stamp pip runs again and skips what is there: an interrupted install is resumed, not repeated.
#
# The GPU set is for Python 3.12, for which flash-attn has a wheel, and 3.11, where it is compiled if nvcc of CUDA 13 is there. Without
# flash-attn a training takes torch's own attention (docs/gpu.md). The project's CI has no GPU: it has resolved this set, not run it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
torch_cpu_index=https://download.pytorch.org/whl/cpu
pip_pin=pip==26.3 # Python 3.11 brings 23.2, which takes three times the CPU time to find and fetch two hundred packages
cpu_disk_needed_gb=5 # a finished CPU environment is 3 GB; pip unpacks and compiles on the way there

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
    printf 'setup: error: %s\n' "$*" >&2
    exit 1
}

# ---------------------------------------------------------------- arguments

set_name= dev=no dry_run=no quiet=no checked=yes venv=${ROUTER_R1_VENV:-$root/.venv}
while [ $# -gt 0 ]; do
    case $1 in
    --cpu) set_name=cpu ;;
    --gpu) set_name=gpu ;;
    --dev) dev=yes ;;
    --dry-run) dry_run=yes ;;
    --quiet) quiet=yes ;;
    --unchecked) checked=no ;;
    --venv)
        [ $# -ge 2 ] && [ -n "$2" ] || die "--venv: needs a directory"
        venv=$2
        shift
        ;;
    -h | --help)
        sed -n '2,/^set -/{/^#/!d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *) die "$1: unknown option; see --help" ;;
    esac
    shift
done
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
venv=${venv%/}
marks=$venv/.router-r1 # set: its name; *.stamp; made: this script made the environment, at the path it holds
log=$venv.log

unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX # pip would take what they name for installed, or install there
export PIP_USER=0

# ---------------------------------------------------------------- which set

has_nvidia_gpu() { [ -e /dev/nvidia0 ] || { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; }; }

choose_set() {
    if [ -n "$set_name" ]; then
        return
    elif [ -f "$marks/set" ]; then
        set_name=$(<"$marks/set")
        if [ "$set_name" = cpu ] && has_nvidia_gpu; then
            say "this machine has an NVIDIA GPU, but $venv holds the CPU set; --gpu replaces it"
        fi
    elif has_nvidia_gpu; then
        set_name=gpu
    else
        set_name=cpu
        if [ -e /dev/kfd ] || [ -e /dev/davinci0 ]; then
            say "the accelerator of this machine is not one there is a set for (only NVIDIA); taking the CPU set"
        fi
    fi
}

# ---------------------------------------------------------------- stamps

stamp_text() { # $1: cpu, gpu or dev
    local files=(scripts/setup.sh pyproject.toml)
    case $1 in
    cpu) files+=(requirements/cpu.lock scripts/vllm_metadata/pyproject.toml) ;;
    gpu) files+=(requirements/gpu.lock requirements/flash_attn_wheel.lock requirements/flash_attn_source.lock) ;;
    dev) files+=(requirements/dev.lock) ;;
    esac
    printf 'set %s\nproject %s\nvenv %s\npython %s\n' "$1" "$root" "$venv" "$(sed -n 's/^version *= *//p' "$venv/pyvenv.cfg")"
    (cd "$root" && sha256sum "${files[@]}")
}

stamped() { [ -f "$marks/$1.stamp" ] && [ "$(<"$marks/$1.stamp")" = "$(stamp_text "$1")" ]; }

write_stamp() {
    [ "$dry_run" = no ] || return 0
    stamp_text "$1" >"$marks/$1.stamp.part"
    mv "$marks/$1.stamp.part" "$marks/$1.stamp"
}

set_is_there() {
    [ -x "$venv/bin/python" ] && [ -f "$venv/pyvenv.cfg" ] && stamped "$set_name" || return 1
    [ "$set_name" = gpu ] || compgen -G "$venv/lib/python3.*/site-packages/vllm-*.dist-info/METADATA" >/dev/null
}

up_to_date() { set_is_there && { [ "$dev" = no ] || stamped dev; }; }

# ---------------------------------------------------------------- running pip

run() { # a command, its output to the log, or only its text in a dry run
    if [ "$dry_run" = yes ]; then
        printf '%s\n' "$*"
        return
    fi
    printf '\n$ %s\n' "$*" >>"$log"
    "$@" >>"$log" 2>&1
}

pip_install() {
    # --no-compile: pip compiles on one core only; compile_all does it at the end
    run "$venv/bin/python" -m pip --disable-pip-version-check --no-input install --no-compile "$@"
}

show_log_and_die() {
    say "the end of $log:"
    # pip repeats notes about its own sources once a package; the fault is among the other lines
    grep -v '^WARNING: Location' "$log" | tail -n 25 | cut -c 1-200 | sed 's/^/    /' >&2
    die "$1; nothing is lost: run the same command again to go on from here"
}

step() { # $1: what it is; the rest: a command. A line before, a line of progress while it lasts, and the seconds after.
    local title=$1 started=$SECONDS watcher=
    shift
    if [ "$dry_run" = yes ]; then
        printf '# %s\n' "$title"
        "$@"
        return
    fi
    say "$title"
    watch_log "$title" & # 9 is the lock, which only this process may hold
    watcher=$!
    "$@" || {
        kill "$watcher" 2>/dev/null || true
        show_log_and_die "$title failed"
    }
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    say "  done in $((SECONDS - started)) s"
}

watch_log() { # every half minute, as long as this script lives: how far pip is
    exec 9>&-
    local seconds=0 last
    while sleep 1 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        seconds=$((seconds + 1))
        if [ $((seconds % 30)) = 0 ]; then
            last=$(grep -aoE '^(Collecting [^ ]*|Building wheel[^:]*|Installing collected)' "$log" | tail -n 1)
            if [ "$last" = "Installing collected" ]; then
                last="$(ls -d "$venv"/lib/python3.*/site-packages/*.dist-info 2>/dev/null | wc -l) packages are in place"
            fi
            say "  ... $seconds s: ${last:-working}"
        fi
    done
}

# ---------------------------------------------------------------- the steps

# The CPU set is tried on 3.11, for which every version in cpu.lock was chosen; veRL's own GPU environment is 3.12.
minors() { [ "$set_name" = gpu ] && echo "12 11" || echo 11; }

is_wanted() { # $1: an interpreter, $2: the minor version
    "$1" -c "import sys; sys.exit(sys.version_info[:2] != (3, $2))" >/dev/null 2>&1
}

find_python() {
    local candidate minor versions
    versions="Python 3.$(minors | sed 's/ / or 3./')"
    for minor in $(minors); do
        if [ -n "${PYTHON:-}" ]; then
            is_wanted "$PYTHON" "$minor" || continue
            python=$PYTHON
            return
        fi
        for candidate in "python3.$minor" python3 python "/usr/bin/python3.$minor" "/usr/local/bin/python3.$minor"; do
            if is_wanted "$candidate" "$minor"; then
                python=$candidate
                return
            fi
        done
    done
    minor=$(minors | cut -d ' ' -f 1)
    [ -z "${PYTHON:-}" ] || die "PYTHON = $PYTHON: not a $versions; name one, or unset PYTHON to search for python3.$minor"
    die "no $versions found (looked for python3.$minor, python3, python); install it, or name it: PYTHON=/path/to/python3.$minor"
}

check_machine() {
    local free_gb target=$venv
    if [ "$set_name" = gpu ]; then
        check_gpu_machine
        return
    fi
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || die "the CPU set is for Linux on x86-64; this is $(uname -s) on $(uname -m)"
    "$python" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null ||
        die "the system library libnuma.so.1 is missing, which vLLM's CPU build loads; install it (Debian, Ubuntu: apt-get install libnuma1)"
    until [ -d "$target" ]; do target=$(dirname "$target"); done
    free_gb=$(($(df -Pk "$target" | awk 'NR == 2 {print $4}') / 1048576))
    [ "$free_gb" -ge "$cpu_disk_needed_gb" ] ||
        die "$target has $free_gb GB free, and $cpu_disk_needed_gb GB are needed; free some, or name another place with --venv"
}

# Driver, CUDA, disk, /dev/shm, memory, Python: before gigabytes are downloaded. `router-r1 doctor` makes the same checks.
check_gpu_machine() {
    local amiss fits=yes
    amiss=$(cd "$root" && "$python" -m router_r1.doctor.machine "$venv") || fits=no
    [ -z "$amiss" ] || while IFS= read -r line; do say "$line"; done <<<"$amiss"
    [ "$fits" = yes ] || [ "$checked" = no ] || [ "$dry_run" = yes ] ||
        die "the GPU set would not work here; nothing was downloaded (--unchecked installs it all the same)"
}

usable() {
    local minor
    for minor in $(minors); do
        is_wanted "$venv/bin/python" "$minor" && "$venv/bin/python" -c 'import pip' >/dev/null 2>&1 && return 0
    done
    return 1
}

# Only what this script made is ever removed.
make_venv() {
    if [ "$dry_run" = no ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ]; then
        if [ -f "$marks/made" ]; then
            if ! usable; then
                say "$venv is incomplete: making it anew"
            elif [ "$(<"$marks/made")" != "$venv" ]; then
                say "$venv has been moved, and environments cannot be: making it anew"
            elif [ "$(<"$marks/set")" != "$set_name" ]; then
                say "$venv holds the $(<"$marks/set") set: making it anew for the $set_name set"
            else
                return 0
            fi
            rm -rf "$venv"
        elif ! usable; then
            die "$venv: not a Python 3.$(minors | sed 's/ / or 3./') environment with pip, and not made by this script; name an empty or a new directory with --venv"
        elif [ -f "$marks/set" ] && [ "$(<"$marks/set")" != "$set_name" ]; then
            die "$venv: holds the $(<"$marks/set") set, and was not made by this script; name another directory with --venv"
        else
            mkdir -p "$marks"
            echo "$set_name" >"$marks/set"
            return
        fi
    fi
    find_python
    check_machine
    step "making $venv with $("$python" -c 'import platform, sys; print(f"{sys.executable} ({platform.python_version()})")')" create_venv
}

create_venv() {
    if [ "$dry_run" = no ]; then # first, so that a half-made environment is known as one
        mkdir -p "$marks"
        echo "$set_name" >"$marks/set"
        echo "$venv" >"$marks/made"
    fi
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        run "$python" -m venv "$venv" && pip_install --no-deps "$pip_pin"
    else # Debian keeps ensurepip in a package of its own; where pip itself is there, it can fill the environment from outside
        "$python" -m pip --version >/dev/null 2>&1 ||
            die "$python has neither ensurepip nor pip; install them (Debian, Ubuntu: apt-get install python3.11-venv)"
        run "$python" -m venv --without-pip "$venv" && run "$python" -m pip --python "$venv/bin/python" install "$pip_pin"
    fi
}

# A pip that was stopped leaves packages whose metadata looks complete although files may be missing, and pip would count them as
# installed. It writes INSTALLER when all other files are there: without it, the metadata goes, and pip installs the package again.
remove_half_installed() {
    local info
    for info in "$venv"/lib/python3.*/site-packages/*.dist-info; do
        if [ -d "$info" ] && { [ ! -f "$info/INSTALLER" ] || [ ! -f "$info/RECORD" ]; }; then
            say "an earlier install stopped in the middle of $(basename "$info" .dist-info): it is installed again"
            rm -rf "$info"
        fi
    done
    rm -rf "$venv"/lib/python3.*/site-packages/~* # what pip had moved aside
}

pin() { sed -n "s/^\($1==[^ ]*\).*/\1/p" "$root/requirements/$set_name.lock"; }

install_torch() {
    local torch
    torch=$(pin torch)
    # No package index but PyTorch's own holds a "+cpu" version, so trying the configured ones first can find no other build.
    pip_install --no-deps "$torch" && return
    [ "$dry_run" = yes ] || grep -q 'No matching distribution found for torch==' "$log" || return 1
    pip_install --no-deps --index-url "$torch_cpu_index" "$torch"
}

install_locked() { # with the locked setuptools as the build tool of the few packages that come as source
    local hashes=()
    pip_install --no-deps "$(pin setuptools)" || return 1
    if [ "$set_name" = gpu ]; then hashes=(--require-hashes); else install_in_halves; fi
    pip_install --no-deps --no-build-isolation "${hashes[@]}" -r "$root/requirements/$set_name.lock"
}

# pip keeps one core busy, and two of them are done in little more than half the time. What they leave out, the install of
# the whole lock that follows puts in, and says what is amiss.
install_in_halves() {
    local half=$marks/half
    [ "$dry_run" = no ] || return 0
    grep '==' "$root/requirements/$set_name.lock" | awk -v half="$half" '{ print >(half NR % 2 ".txt") }'
    pip_install --no-deps --no-build-isolation -r "${half}0.txt" &
    pip_install --no-deps --no-build-isolation -r "${half}1.txt" || true
    wait $! || true
}

# From the wheel that fits, else compiled, else not at all: it makes a training cheaper, and is not worth failing for.
install_flash_attn() {
    local jobs
    if [ "$dry_run" = yes ] || is_wanted "$venv/bin/python" 12; then
        pip_install --no-deps --require-hashes -r "$root/requirements/flash_attn_wheel.lock" && has_flash_attn && return
        echo "the wheel of flash-attn does not work here" >>"$log"
        run "$venv/bin/python" -m pip uninstall --yes flash-attn || true
    fi
    if has_nvcc; then
        jobs=$(compile_jobs)
        say "  compiling flash-attn, $jobs jobs at a time; it can take an hour"
        run env MAX_JOBS="$jobs" NVCC_THREADS=1 FLASH_ATTENTION_FORCE_BUILD=TRUE "$venv/bin/python" -m pip --disable-pip-version-check --no-input \
            install --no-compile --no-deps --no-build-isolation --require-hashes -r "$root/requirements/flash_attn_source.lock" &&
            has_flash_attn && return
        run "$venv/bin/python" -m pip uninstall --yes flash-attn || true
    fi
    say "  no flash-attn: no wheel of it works here, and it was not compiled (nvcc of CUDA 13 does that); trainings take torch's own"
    say "  attention (sdpa, without packing), which is slower and takes more memory, and PPO's critic cannot be trained"
}

has_flash_attn() { run "$venv/bin/python" -c 'import torch, flash_attn_2_cuda, flash_attn' || [ "$dry_run" = yes ]; }

has_nvcc() { "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" --version 2>/dev/null | grep -q 'release 13' || nvcc --version 2>/dev/null | grep -q 'release 13'; }

compile_jobs() { # as many as there are cores, and 8 GB of memory for each
    local by_memory
    by_memory=$(($(awk '/^MemAvailable/ {print $2}' /proc/meminfo) / 8388608))
    printf '%s\n%s\n' "$(nproc)" "$((by_memory > 0 ? by_memory : 1))" | sort -n | head -n 1
}

install_project() {
    local copy=$marks/vllm_metadata
    if [ "$set_name" = gpu ]; then
        pip_install --no-deps --no-build-isolation -e "$root"
        return
    fi
    if [ "$dry_run" = no ]; then # setuptools builds it beside its source: here, not in the project
        rm -rf "$copy"
        cp -r "$root/scripts/vllm_metadata" "$copy"
    fi
    pip_install --no-deps --no-build-isolation "$copy" -e "$root"
}

# Without it, every one of the dozen processes of a run would compile what it imports where PYTHONDONTWRITEBYTECODE is set, as in
# many container images: torch then takes three times as long to import. A third of it all is tests, which nobody imports, and
# models, of which a run imports one or two.
compile_all() { # exit code 1 means that some file, a template for one, is no Python of this version, which is of no concern
    run "$venv/bin/python" -m compileall -q -j 0 -x 'site-packages/(.*/tests?/|transformers/models/|vllm/model_executor/models/)' \
        "$venv"/lib/python3.*/site-packages || [ $? = 1 ]
}

check_imports() {
    local code='import ray, torch, verl, vllm; from importlib.metadata import version; print(version("vllm"), torch.__version__, verl.__version__)'
    [ "$set_name" = gpu ] || code+='; assert torch.version.cuda is None, "a CUDA build of torch"; assert "cpu" in version("vllm")'
    run env HF_HUB_OFFLINE=1 "$venv/bin/python" -c "$code"
}

run_kernels() { # nothing to run where there is no GPU, as on a login node
    run "$venv/bin/python" -m router_r1.doctor.kernel $(! has_nvidia_gpu || echo --gpu) || return 1
    [ "$dry_run" = yes ] || say "  $(tail -n 1 "$log")"
}

install_set() {
    local packages
    make_venv
    packages=$(grep -c '^[^#].*==' "$root/requirements/$set_name.lock")
    if [ "$set_name" = cpu ]; then
        step "installing $(pin torch)" install_torch
        step "installing the CPU set: $packages packages, about 4 minutes the first time" install_locked
    else
        step "installing the GPU set: $packages packages, 4.6 GB to download" install_locked
        step "installing flash-attn" install_flash_attn
    fi
    step "installing the project itself (editable)" install_project
    step "compiling the packages to bytecode" compile_all
    step "checking that torch, Ray, vLLM and veRL import" check_imports
    [ "$set_name" = cpu ] || step "running a kernel on every GPU" run_kernels
    write_stamp "$set_name"
}

install_dev() {
    step "installing what tests and linters need" pip_install --no-deps -r "$root/requirements/dev.lock"
    write_stamp dev
}

# ---------------------------------------------------------------- main

choose_set
if [ "$dry_run" = yes ]; then
    install_set
    [ "$dev" = no ] || install_dev
    exit 0
fi
if up_to_date; then
    [ "$quiet" = yes ] || say "$venv is ready ($set_name set)"
    exit 0
fi

mkdir -p "$(dirname "$venv")"
exec 9>"$venv.lock"
if ! flock --nonblock 9; then
    say "another set-up of $venv is at work: waiting for it"
    flock 9
    if up_to_date; then
        say "$venv is ready ($set_name set)"
        exit 0
    fi
fi
date -u '+# %Y-%m-%dT%H:%M:%SZ' >"$log"
[ ! -f "$marks/made" ] || remove_half_installed
set_is_there || install_set
[ "$dev" = no ] || stamped dev || install_dev
say "$venv is ready ($set_name set): $SECONDS s, $(du -sh "$venv" | cut -f 1)"
