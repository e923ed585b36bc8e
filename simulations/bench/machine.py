"""The machine that a bench ran on, named without host, path or user."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from simulations.bench.report import Machine

CPU_FACTS = Path("/proc/cpuinfo")


def describe_machine(device: torch.device) -> Machine:
    """Return what a reader needs in order to judge figures of `device`."""
    cuda = device.type == "cuda"
    return Machine(
        device=torch.cuda.get_device_name(device) if cuda else processor_name(),
        arithmetic=f"CUDA {torch.version.cuda}" if cuda else arithmetic(),
        processors=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        load_before=load_average(),
    )


def processor_name() -> str:
    """Return the processor's name where the system tells it, else its architecture."""
    lines = CPU_FACTS.read_text("utf-8").splitlines() if CPU_FACTS.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def arithmetic() -> str:
    """Return the widest instructions that PyTorch uses on this CPU."""
    return "AMX" if torch.cpu._is_amx_tile_supported() else str(torch.backends.cpu.get_cpu_capability())


def load_average() -> float:
    """Return the mean number of running processes over the last minute, rounded to hundredths."""
    return round(os.getloadavg()[0], 2)
