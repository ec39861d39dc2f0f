"""Several processes that learn together, started by torch's own launcher.

``torchrun --nproc-per-node 2 scripts/diffpose ...`` tells every process by environment variables who it is and where
the others are; without it there is one process.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn


class Processes:
    """The processes that take part.

    rank, count
        This one's number, from 0, and how many there are.
    """

    def __init__(self) -> None:
        self.rank, self.count = 0, int(os.environ.get("WORLD_SIZE", "1"))
        if self.count > 1:
            if not torch.distributed.is_initialized():
                torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
            self.rank, self.count = torch.distributed.get_rank(), torch.distributed.get_world_size()

    def agreed(self, value: float, device: str) -> float:
        """The first process's ``value``."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=device)
        torch.distributed.broadcast(shared, 0)
        return float(shared)

    def average_gradients(self, network: nn.Module) -> None:
        """The mean of all processes' gradients, in one message."""
        if self.count == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        together = torch.cat([g.flatten() for g in gradients])
        torch.distributed.all_reduce(together)
        torch._foreach_copy_(gradients, _split(together / self.count, gradients))


def _split(together: Tensor, like: list[Tensor]) -> list[Tensor]:
    parts = together.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like)]
