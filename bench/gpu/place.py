"""Where a load runs: a device and a number format, and how its random weights get there."""

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

SEED = 20261121
_Built = TypeVar("_Built", bound=nn.Module)


@dataclass(frozen=True)
class Place:
    """A device and the number format of weights and inputs."""

    device: torch.device
    dtype: torch.dtype

    @property
    def where(self) -> dict[str, Any]:
        """Both, as torch wants them by name."""
        return {"device": self.device, "dtype": self.dtype}

    @property
    def is_meta(self) -> bool:
        """Whether there are only shapes here: tensors without numbers, for counting."""
        return self.device.type == "meta"

    @property
    def is_cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.device.type == "cuda"

    def normal(self, *shape: int) -> torch.Tensor:
        """Normal random numbers: zeros would draw less power and run at a higher clock."""
        return torch.randn(*shape, device=self.device, dtype=self.dtype)

    def settle(self, module: _Built) -> _Built:
        """Fill the module, which was built on this device, with random weights that keep activations near one."""
        module.requires_grad_(requires_grad=False).eval()
        if self.is_meta:
            return module
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, float(parameter[0].numel()) ** -0.5)
            else:
                parameter.normal_(1.0, 0.02)
        return module


def prepare(device: torch.device) -> None:
    """One thread on a processor: threads that wait for each other measure what else the machine does."""
    if device.type == "cpu":
        torch.set_num_threads(1)


def default_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU; single precision on a processor, many of which have nothing faster."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32
