"""Which of two experts runs in each step: the high-noise one while the timestep is at or above the boundary.

The timesteps are those of UniPC with flow sigmas.  With N training timesteps and S steps, the noise levels are

    native (Wan's own code)   (N - 1) / N * (S - i) / S
    diffusers                 1 - (N - 1) / N * i / S             for i = 0 .. S - 1

shifted to ``s x / (1 + (s - 1) x)``, times N, rounded down.  All of it is rational, so the count is exact.
"""

from fractions import Fraction
from math import ceil, floor
from typing import Literal

import msgspec

from taximeter.meters.diffusion.numbers import Count, decimal, need

SHIFT_MAX = 1000


class Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the second expert takes over.

    Attributes:
        flow_shift: of the scheduler.
        boundary_ratio: share of the training timesteps at which the first expert ends.
        sigmas: whose noise levels.
        num_train_timesteps: of the scheduler.
    """

    flow_shift: int | str
    boundary_ratio: int | str
    sigmas: Literal["native", "diffusers"] = "diffusers"
    num_train_timesteps: Count = 1000

    def __post_init__(self) -> None:
        """Raises ValueError for what is no number, or none that can be meant."""
        need(0 < decimal(self.flow_shift) <= SHIFT_MAX, "flow_shift must be a number above 0")
        need(0 <= decimal(self.boundary_ratio) <= 1, "boundary_ratio must be a number from 0 to 1")
        need(self.num_train_timesteps > 1, "num_train_timesteps must be at least 2")

    def high_steps(self, steps: int) -> int:
        """Steps of the first, high-noise expert."""
        trained, shift = self.num_train_timesteps, decimal(self.flow_shift)
        boundary = ceil(decimal(self.boundary_ratio) * trained)
        if boundary >= trained:
            return 0
        # The noise level that the shift brings to the boundary.
        level = Fraction(boundary) / (shift * trained - boundary * (shift - 1))
        whole = Fraction(trained, trained - 1)
        last = steps - ceil(level * whole * steps) if self.sigmas == "native" else floor((1 - level) * whole * steps)
        return max(0, min(steps, last + 1))
