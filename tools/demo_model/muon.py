"""Muon: momentum whose matrices are orthogonalised by Newton-Schulz steps, batched over equal shapes.

Source: Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
"""

import torch


@torch.compile
def orthogonalise(g):
    """g [n, rows, columns] -> nearest semi-orthogonal matrices, roughly (5 quintic steps in bf16)."""
    x = g.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x


class Muon:
    def __init__(self, parameters, momentum=0.95, weight_decay=0.01):
        self.groups = {}
        for parameter in parameters:
            self.groups.setdefault(tuple(parameter.shape), []).append(parameter)
        self.buffers = {shape: torch.zeros(len(ps), *shape, device=ps[0].device) for shape, ps in self.groups.items()}
        self.momentum, self.weight_decay = momentum, weight_decay

    @torch.no_grad()
    def step(self, learning_rate):
        for shape, parameters in self.groups.items():
            gradient = torch.stack([p.grad for p in parameters])
            buffer = self.buffers[shape]
            buffer.lerp_(gradient, 1 - self.momentum)
            update = orthogonalise(gradient.lerp(buffer, self.momentum)).float()
            scale = learning_rate * max(1.0, shape[0] / shape[1]) ** 0.5
            torch._foreach_mul_(parameters, 1 - learning_rate * self.weight_decay)
            torch._foreach_add_(parameters, list(update.unbind(0)), alpha=-scale)
