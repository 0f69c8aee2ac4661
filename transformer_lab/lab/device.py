"""What this computer can compute on, and how much of it is left."""

import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from transformer_lab.settings import ConfigError

SIBLINGS = "topology/thread_siblings_list"  # what Linux tells of a core


@dataclass(frozen=True)
class DeviceChoice:
    """The device a training runs on, and in words why it is this one."""

    device: torch.device
    name: str
    reason: str


def choose_device(wanted: str) -> DeviceChoice:
    """`auto` takes a GPU when one is there. Raises ConfigError for a GPU that is not."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wanted == "cuda" and not cuda:
        raise ConfigError(
            "train.device", f"Device is cuda, but {why_no_cuda()}: choose auto or cpu."
        )
    if wanted == "mps" and not mps:
        raise ConfigError(
            "train.device", "Device is mps, but there is no Apple GPU here: choose auto or cpu."
        )
    if wanted == "cuda" or (wanted == "auto" and cuda):
        return DeviceChoice(torch.device("cuda"), torch.cuda.get_device_name(), "NVIDIA GPU found")
    if wanted == "mps" or (wanted == "auto" and mps):
        return DeviceChoice(torch.device("mps"), "Apple GPU", "Apple GPU found")
    reason = "chosen in the settings" if wanted == "cpu" and (cuda or mps) else why_no_cuda()
    return DeviceChoice(torch.device("cpu"), "CPU", reason)


def has_gpu() -> bool:
    """Whether `auto` would take a GPU."""
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def gpu_count() -> int:
    """How many GPUs PyTorch could compute on."""
    return torch.cuda.device_count() or int(torch.backends.mps.is_available())


def why_no_cuda() -> str:
    """The reason no NVIDIA GPU is used, in words."""
    if torch.version.cuda is None:
        return "this PyTorch is built without CUDA"
    if not torch.cuda.is_available():
        return "no NVIDIA GPU with a working driver was found"
    return "a GPU is there"


def available_cores() -> int:
    """CPU cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def physical_cores() -> int:
    """How many of them are cores of their own; no more than OMP_NUM_THREADS, where that is set."""
    cores = min(_own_cores(), available_cores())
    limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return max(1, min(cores, int(limit))) if limit.isdecimal() and int(limit) else cores


def _own_cores() -> int:
    """Cores this process may run on, two that are one core to the hardware counted once."""
    try:
        places = os.sched_getaffinity(0)
        files = [Path(f"/sys/devices/system/cpu/cpu{n}/{SIBLINGS}") for n in places]
        return len({file.read_text() for file in files})
    except (AttributeError, OSError):  # not Linux, or one that does not tell
        return psutil.cpu_count(logical=False) or available_cores()


_PROGRAM = psutil.Process()


def used_by_others() -> float:
    """CPU cores that other programs have used since this was last asked; 0 at first."""
    cores = psutil.cpu_count() or 1
    everything = psutil.cpu_percent() * cores / 100
    return max(0.0, everything - _PROGRAM.cpu_percent() / 100)


def memory_used() -> int:
    """Bytes of memory this process holds."""
    return int(_PROGRAM.memory_info().rss)


def memory_free() -> int:
    """Bytes of memory that could still be had."""
    return psutil.virtual_memory().available


def memory_whole() -> int:
    """Bytes of memory that this computer has."""
    return psutil.virtual_memory().total


def environment(folder: Path) -> dict[str, Any]:
    """What a run is made with, for its record and for `doctor`; sizes in bytes."""
    return {
        "transformer_lab": version("transformer-lab"),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "platform": platform.platform(),
        "cores": available_cores(),
        "memory_free": memory_free(),
        "disk_free": psutil.disk_usage(str(folder)).free,
    }
