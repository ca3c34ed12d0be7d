"""Where a network runs, as a user names it."""

from __future__ import annotations

import torch


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
