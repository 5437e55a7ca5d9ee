"""What the figures depend on: device, driver, libraries and their settings; no names of hosts, users or folders."""

import platform
import re
from typing import Any

import torch

from bench.figures import machine


def slug(device: torch.device, scale: str) -> str:
    """The folder of the results: ``nvidia-h200``, ``cpu-tiny``."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    short = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return short if scale == "full" else f"{short}-{scale}"


def uuid_of(device: torch.device) -> str | None:
    """The name of a GPU that CUDA and NVML share, who number devices each in their own way; None for a processor."""
    if device.type != "cuda":
        return None
    return f"GPU-{getattr(torch.cuda.get_device_properties(device), 'uuid', 'unknown')}"


def describe(device: torch.device, sensors: str) -> dict[str, Any]:
    """Device, versions and the switches that decide which kernels run."""
    facts: dict[str, Any] = {"device": "cpu", "torch": torch.__version__, "python": platform.python_version(), "sensors": sensors}
    facts |= {"machine": machine(), "threads": torch.get_num_threads()}
    facts["settings"] = {
        "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "flash_sdp": torch.backends.cuda.flash_sdp_enabled(),
        "cudnn_sdp": torch.backends.cuda.cudnn_sdp_enabled(),
        "mem_efficient_sdp": torch.backends.cuda.mem_efficient_sdp_enabled(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["device"] = properties.name
        facts |= {"memory_bytes": properties.total_memory, "multiprocessors": properties.multi_processor_count}
        facts |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return facts
