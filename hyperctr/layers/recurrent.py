"""Vectors of a user's clicks, in order."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hyperctr.layers.bodies import choose


class GRU(nn.GRU):
    """A GRU that starts from zero: [Q, T, dim] -> the state of the last layer after each step, [Q, T, state].

    Args:
        dim: width of a step.
        state: width of the state.
        depth: number of layers, each of which reads the states of the one before.
    """

    def __init__(self, dim: int, state: int, depth: int = 1):
        super().__init__(dim, state, depth, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Read the steps."""
        for weights in self.all_weights:
            x = gru(x, *weights)
        return x


class LastState(GRU):
    """The state of a GRU after the last real click: MARN's BaseModel, section 4.5.

    Args:
        dim: width of a click.
        state: width of the state.
    """

    def forward(self, clicks: Tensor, mask: Tensor) -> Tensor:
        """Read the clicks: [Q, T, dim] and [Q, T] -> [Q, state]; zero for an empty history."""
        return after_last(super().forward(clicks), mask)


def after_last(states: Tensor, mask: Tensor) -> Tensor:
    """Take the state after the last real click: [Q, T, d] and [Q, T] -> [Q, d]; zero for an empty history."""
    length = mask.sum(1)
    last = states[torch.arange(len(states), device=states.device), (length - 1).clamp(min=0)]
    return last * (length > 0)[:, None]


def gru(x: Tensor, of_input: Tensor, of_state: Tensor, input_bias: Tensor, state_bias: Tensor) -> Tensor:
    """Compute the states of a GRU from h_0 = 0, for each step t of x, [Q, T, dim] -> [Q, T, d].

        r = sigma(W_r x_t + b_r + U_r h + c_r), z = sigma(W_z x_t + b_z + U_z h + c_z),
        n = tanh(W_n x_t + b_n + r * (U_n h + c_n)), h' = n + z * (h - n)

    Args:
        x: the steps.
        of_input: W, [3 d, dim], in the order r, z, n. of_state: U, [3 d, d].
        input_bias: b, [3 d]. state_bias: c, [3 d].
    """
    return choose(_plain_gru, _fast_gru, x.is_cpu)(x, of_input, of_state, input_bias, state_bias)


def _plain_gru(x: Tensor, of_input: Tensor, of_state: Tensor, input_bias: Tensor, state_bias: Tensor) -> Tensor:
    start = x.new_zeros(1, len(x), of_state.shape[1])
    return torch.gru(x, start, [of_input, of_state, input_bias, state_bias], True, 1, 0.0, False, False, True)[0]


def _fast_gru(x: Tensor, of_input: Tensor, of_state: Tensor, input_bias: Tensor, state_bias: Tensor) -> Tensor:
    d = of_state.shape[1]
    bias = input_bias + F.pad(state_bias[: 2 * d], (0, d))
    inputs = F.linear(x.transpose(0, 1).contiguous(), of_input, bias)  # of all steps at once, [T, Q, 3 d]
    return _Steps.apply(inputs, of_state, state_bias[2 * d :]).transpose(0, 1)


class _Steps(torch.autograd.Function):
    """The steps of a GRU, from what r, z and n read of the input, [T, Q, 3 d], to the states, [T, Q, d].

    What a gradient is multiplied with is computed for all steps at once.
    """

    @staticmethod
    @partial(torch.amp.custom_fwd, device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx, inputs: Tensor, of_state: Tensor, bias: Tensor) -> Tensor:
        (steps, rows, _), d = inputs.shape, of_state.shape[1]
        gates, new = (part.clone(memory_format=torch.contiguous_format) for part in inputs.split([2 * d, d], 2))
        of_gates, of_new = of_state[: 2 * d].T, of_state[2 * d :].T
        states, kept = inputs.new_zeros(steps + 1, rows, d), inputs.new_empty(steps, rows, d)  # kept: U_n h + c_n
        for h, after, gate, n, u in zip(states, states[1:], gates, new, kept, strict=False):
            gate.addmm_(h, of_gates).sigmoid_()
            torch.addmm(bias, h, of_new, out=u)
            torch.lerp(n.addcmul_(gate[:, :d], u).tanh_(), h, gate[:, d:], out=after)
        ctx.save_for_backward(of_state, gates, new, kept, states)
        return states[1:]

    @staticmethod
    @partial(torch.amp.custom_bwd, device_type="cpu")
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        of_state, gates, n, kept, states = ctx.saved_tensors
        steps, rows, d = n.shape
        r, z = gates.split(d, 2)
        by_n, by_z, by_r = (1 - n * n) * (1 - z), (states[:-1] - n) * z * (1 - z), kept * r * (1 - r)
        found, of_kept = torch.empty(steps, rows, 3 * d, dtype=n.dtype), torch.empty_like(n)
        of_r, of_z, of_n = found.split(d, 2)
        h = n.new_zeros(rows, d)
        for t in range(steps - 1, -1, -1):
            h = h + gradient[t]
            torch.mul(h, by_n[t], out=of_n[t])
            torch.mul(h, by_z[t], out=of_z[t])
            torch.mul(of_n[t], by_r[t], out=of_r[t])
            torch.mul(of_n[t], r[t], out=of_kept[t])
            h = torch.addmm(h * z[t], found[t, :, : 2 * d], of_state[: 2 * d]).addmm_(of_kept[t], of_state[2 * d :])
        before, of_kept = states[:-1].flatten(0, 1), of_kept.flatten(0, 1)
        of_weight = torch.cat([found.flatten(0, 1)[:, : 2 * d].T @ before, of_kept.T @ before])
        return found, of_weight, of_kept.sum(0)
