"""A speech model's decode loop of our own: a solver makes a patch of audio features, an encoder reads it, two language models go on."""

import math

import torch
from torch import nn

from bench.gpu import forms
from bench.gpu.place import Place
from bench.gpu.stack import Layers, angles, caches

GUIDANCE = 2.0


class Solver(nn.Module):
    """The transformer that the solver asks for a direction: condition, what came before, and what is being made."""

    def __init__(self, form: forms.Speech, place: Place) -> None:
        super().__init__()
        dim, where = form.stack.dim, place.where
        self.enter, self.enter_before = (nn.Linear(form.features, dim, **where) for _ in range(2))
        self.time, self.span = (nn.Sequential(nn.Linear(dim, dim, **where), nn.SiLU(), nn.Linear(dim, dim, **where)) for _ in range(2))
        self.layers = Layers(form.part(form.solver_layers), place)
        self.leave = nn.Linear(dim, form.features, **where)
        self.turns = angles(form.stack, 1 + 2 * form.patch, place)
        half = dim // 2
        self.waves = torch.pow(10000.0, -torch.arange(half, device=place.device, dtype=torch.float32) / half)

    def _wave(self, times: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        turned = 1000.0 * times.float()[:, None] * self.waves
        return torch.cat((turned.sin(), turned.cos()), dim=1).to(dtype)

    def forward(self, made: torch.Tensor, condition: torch.Tensor, time: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Made and before (2, patch, features), condition (2, D), time ()."""
        times = time.expand(2)
        moments = self.time(self._wave(times, made.dtype)) + self.span(self._wave(torch.zeros_like(times), made.dtype))
        tokens = torch.cat(((condition + moments).unsqueeze(1), self.enter_before(before), self.enter(made)), dim=1)
        return self.leave(self.layers.whole(tokens, self.turns, causal=False)[:, -made.shape[1] :])


class Speaker(nn.Module):
    """One step of the loop at a time; its state lives in tensors that stay where they are, so that a step can be captured in a graph."""

    def __init__(self, form: forms.Speech, timesteps: int, place: Place) -> None:
        super().__init__()
        dim, where = form.stack.dim, place.where
        self.form, self.skipped, self.timesteps = form, timesteps - forms.solver_evaluations(timesteps), timesteps
        self.solver = Solver(form, place)
        self.enter = nn.Linear(form.features, dim, **where)
        self.mark = nn.Parameter(torch.empty(1, dim, **where))
        self.encoder = Layers(form.part(form.encoder_layers), place)
        self.model, self.residual = Layers(form.stack, place), Layers(form.part(form.residual_layers), place)
        self.from_encoder, self.to_solver, self.residual_to_solver, self.stop = (nn.Linear(dim, dim, **where) for _ in range(4))
        self.stop_head = nn.Linear(dim, 2, bias=False, **where)
        self.narrow, self.widen = nn.Linear(dim, form.latent, **where), nn.Linear(form.latent, dim, **where)
        line = torch.linspace(1, 0, timesteps + 1, device=place.device)
        self.times = line + (torch.cos(math.pi / 2 * line) - 1 + line)
        self.encoder_turns = angles(form.stack, 1 + form.patch, place)
        self.turns = angles(form.stack, form.slots, place)
        self.caches = caches(form.stack, 1, form.slots, place)
        self.residual_caches = caches(form.part(form.residual_layers), 1, form.slots, place)
        self.hidden, self.residual_hidden = place.normal(1, dim), place.normal(1, dim)
        self.before = place.normal(1, form.patch, form.features)
        self.position = torch.zeros(1, dtype=torch.long, device=place.device)

    def reset(self) -> None:
        """Back to the first position after a prompt of average length."""
        self.position.fill_(min(64, self.form.slots // 4))

    def solve(self, condition: torch.Tensor) -> torch.Tensor:
        """A patch (1, patch, features) by Euler steps, the first of which are skipped."""
        made = torch.randn_like(self.before)
        both = torch.cat((condition, torch.zeros_like(condition)))
        before = self.before.expand(2, -1, -1)
        for number in range(self.skipped, self.timesteps):
            time, after = self.times[number], self.times[number + 1]
            guided, free = self.solver(made.expand(2, -1, -1), both, time, before).chunk(2)
            fit = (guided * free).sum() / (free.square().sum() + 1e-8)
            made = made - (time - after).to(made.dtype) * (free * fit + GUIDANCE * (guided - free * fit))
        return made

    def forward(self) -> torch.Tensor:
        """One step; returns what the stop head says, which nobody obeys: the number of steps is fixed."""
        made = self.solve(self.to_solver(self.hidden) + self.residual_to_solver(self.residual_hidden))
        read = torch.cat((self.mark.unsqueeze(0), self.enter(made)), dim=1)
        heard = self.from_encoder(self.encoder.whole(read, self.encoder_turns, causal=False)[:, 0])
        stop: torch.Tensor = self.stop_head(nn.functional.silu(self.stop(self.hidden))).argmax(dim=-1)
        hidden = self.model.step(heard.unsqueeze(1), self.turns, self.caches, self.position)[:, 0]
        hidden = self.widen(torch.round(torch.tanh(self.narrow(hidden)) * 9) / 9)
        after = self.residual.step((hidden + heard).unsqueeze(1), self.turns, self.residual_caches, self.position)[:, 0]
        self.hidden.copy_(hidden)
        self.residual_hidden.copy_(after)
        self.before.copy_(made)
        self.position.add_(1)
        return stop
