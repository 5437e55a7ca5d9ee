"""A video decoder of our own: causal convolutions over time, one latent frame after the other, each level twice as wide and high."""

import torch
from torch import nn
from torch.nn import functional

from bench.gpu.forms import Vae
from bench.gpu.place import Place

# What a convolution over three frames must remember of what came before.
MEMORY_FRAMES = 2
State = dict[nn.Module, torch.Tensor]


class Causal(nn.Conv3d):
    """A convolution that sees this frame and the two before it."""

    def forward(self, frames: torch.Tensor, state: State) -> torch.Tensor:  # type: ignore[override]
        """Frames (1, C, t, h, w); remembers the last two of them."""
        before = state.get(self)
        seen = functional.pad(frames, (0, 0, 0, 0, MEMORY_FRAMES, 0)) if before is None else torch.cat((before, frames), dim=2)
        state[self] = seen[:, :, -MEMORY_FRAMES:].clone()  # A view would keep all of them.
        return self._conv_forward(seen, self.weight, self.bias)


class Norm(nn.Module):
    """Length of the channels set to one, then a weight for each."""

    def __init__(self, width: int, place: Place) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, device=place.device, dtype=place.dtype))
        self.factor = width**0.5

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Channels are the second dimension."""
        return functional.normalize(values, dim=1) * self.factor * self.weight.view(-1, *(1,) * (values.dim() - 2))


def _wide(wide: int, width: int, place: Place) -> Causal:
    return Causal(wide, width, 3, padding=(0, 1, 1), device=place.device, dtype=place.dtype)


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, wide: int, width: int, place: Place) -> None:
        super().__init__()
        self.first_norm, self.first = Norm(wide, place), _wide(wide, width, place)
        self.second_norm, self.second = Norm(width, place), _wide(width, width, place)
        self.shortcut = nn.Identity() if wide == width else nn.Conv3d(wide, width, 1, device=place.device, dtype=place.dtype)

    def forward(self, frames: torch.Tensor, state: State) -> torch.Tensor:
        """Frames (1, C, t, h, w)."""
        inner = self.first(functional.silu(self.first_norm(frames)), state)
        inner = self.second(functional.silu(self.second_norm(inner)), state)
        return inner + self.shortcut(frames)


class Attention(nn.Module):
    """One head over the cells of each frame."""

    def __init__(self, width: int, place: Place) -> None:
        super().__init__()
        self.norm = Norm(width, place)
        self.query_key_value = nn.Conv2d(width, 3 * width, 1, device=place.device, dtype=place.dtype)
        self.out = nn.Conv2d(width, width, 1, device=place.device, dtype=place.dtype)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames (1, C, t, h, w)."""
        flat = frames[0].transpose(0, 1)
        query, key, value = self.query_key_value(self.norm(flat)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, dim=-1)
        mixed = functional.scaled_dot_product_attention(query.contiguous(), key.contiguous(), value.contiguous())
        return frames + self.out(mixed.squeeze(1).transpose(1, 2).reshape(flat.shape)).transpose(0, 1).unsqueeze(0)


class Grow(nn.Module):
    """Twice as wide and high; at some levels twice as many frames, but the first latent frame stays one."""

    def __init__(self, width: int, place: Place, *, doubles_time: bool) -> None:
        super().__init__()
        where = place.where
        self.time = Causal(width, 2 * width, (3, 1, 1), **where) if doubles_time else None
        self.sides = nn.Conv2d(width, width // 2, 3, padding=1, **where)

    def forward(self, frames: torch.Tensor, state: State, *, first: bool) -> torch.Tensor:
        """Frames (1, C, t, h, w)."""
        if self.time is not None and not first:
            early, late = self.time(frames, state).chunk(2, dim=1)
            frames = torch.stack((early, late), dim=3).flatten(2, 3)
        bigger = functional.interpolate(frames[0].transpose(0, 1).float(), scale_factor=2.0, mode="nearest-exact").to(frames.dtype)
        return self.sides(bigger).transpose(0, 1).unsqueeze(0)


class Decoder(nn.Module):
    """Latent film in, pixels out."""

    def __init__(self, form: Vae, place: Place) -> None:
        super().__init__()
        deepest = form.levels[0][0]
        self.before = nn.Conv3d(form.channels, form.channels, 1, device=place.device, dtype=place.dtype)
        self.enter = _wide(form.channels, deepest, place)
        self.middle = nn.ModuleList((Residual(deepest, deepest, place), Attention(deepest, place), Residual(deepest, deepest, place)))
        self.levels = nn.ModuleList(
            nn.ModuleList((Residual(wide, width, place), Residual(width, width, place), Residual(width, width, place))) for wide, width in form.levels
        )
        self.grow = nn.ModuleList(
            Grow(width, place, doubles_time=doubles) for (_, width), doubles in zip(form.levels[:-1], form.doubles_time, strict=True)
        )
        self.norm = Norm(form.base, place)
        self.leave = _wide(form.base, 3, place)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """Latent (1, channels, T, h, w): the last frames, (1, 3, t, 8 h, 8 w); the others are made and dropped, as a writer to disk would."""
        state: State = {}
        frames = latent
        for number in range(latent.shape[2]):
            frames = self._frame(self.before(latent[:, :, number : number + 1]), state, first=number == 0)
        return frames

    def _frame(self, frames: torch.Tensor, state: State, *, first: bool) -> torch.Tensor:
        frames = self.enter(frames, state)
        early, attention, late = self.middle
        frames = late(attention(early(frames, state)), state)
        for number, level in enumerate(self.levels):
            for residual in level.children():
                frames = residual(frames, state)
            if number < len(self.grow):
                frames = self.grow[number](frames, state, first=first)
        return self.leave(functional.silu(self.norm(frames)), state)
