"""Where a network runs, as a user names it, and what training asks of that place."""

from __future__ import annotations

import ctypes

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # Of glibc's malloc.h.


def find_device(name: str) -> torch.device:
    """The device called `name`: `cpu`, `cuda`, `cuda:1`, ..., or `auto` for a GPU where there is one.

    Raises `ValueError` for a name that PyTorch does not know, and for a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    wrong = f"device is {name!r}; it takes auto, cpu, cuda or cuda:N"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(wrong) from None
    try:
        # Only an allocation tells whether the device is there and PyTorch is built for it.
        torch.empty(0, device=device)
    # Its message lists all that PyTorch is built for.
    except NotImplementedError:
        raise ValueError(f"{wrong} (PyTorch is not built for {device.type} here)") from None
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{wrong} ({reason})") from None
    if device.type == "meta":
        raise ValueError(wrong)
    return device


def keep_freed_memory() -> None:
    """Have this process keep the memory of freed tensors for the next ones, where its C library is glibc.

    It gives large ones back to the system otherwise, which clears every page anew in every step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        # Another C library, or none that can be asked.
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
