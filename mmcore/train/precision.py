"""Whether bfloat16 is the faster choice on this machine."""

from __future__ import annotations

from pathlib import Path

import torch

_CPU_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
_CPUINFO = Path("/proc/cpuinfo")


def use_bfloat16(setting: str, device: torch.device) -> bool:
    """``on``, ``off``, or ``auto``: only where the processor computes in bfloat16 itself.

    Without such instructions bfloat16 is emulated and slower than float32.
    """
    if setting != "auto":
        return setting == "on"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(cpu_flags() & set(_CPU_FLAGS))


def cpu_flags() -> set[str]:
    """Feature names of the first processor; empty where the system does not list them."""
    if not _CPUINFO.exists():
        return set()
    for line in _CPUINFO.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(value.split())
    return set()
