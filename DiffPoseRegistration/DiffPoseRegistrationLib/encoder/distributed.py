"""Several processes that learn together, started by torch's own launcher.

``torchrun --nproc-per-node 2 scripts/diffpose ...`` tells every process by environment variables who it is and where
the others are; without it there is one process.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

import torch
from torch import Tensor, nn

from ..errors import InputError


def launched(environment: MutableMapping[str, str] = os.environ) -> tuple[int, int]:
    """This process's number, from 0, and how many there are, as the launcher says."""
    return int(environment.get("RANK", "0")), int(environment.get("WORLD_SIZE", "1"))


def take_own_gpu(environment: MutableMapping[str, str] = os.environ) -> None:
    """Of several processes on a machine with GPUs each sees one, its own. To be called before anything uses a GPU.

    Raises
    ------
    InputError
        If the machine has fewer GPUs than processes.
    """
    count = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    gpus = torch.cuda.device_count()
    if count == 1 or gpus == 0:
        return
    if gpus < count:
        raise InputError(
            f"There are {count} processes and {gpus} GPU(s) on this machine; start torchrun with --nproc-per-node "
            f"{gpus}, or hide the GPUs with CUDA_VISIBLE_DEVICES=''."
        )
    visible = environment.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
    environment["CUDA_VISIBLE_DEVICES"] = visible[int(environment.get("LOCAL_RANK", "0"))]


class Processes:
    """The processes that take part; what one of them agrees to, all must, at the same place.

    rank, count
        This one's number, from 0, and how many there are.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.rank, self.count = launched()
        self._device = device
        if self.count > 1 and not torch.distributed.is_initialized():
            torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")

    def agreed(self, value: float) -> float:
        """The first process's ``value``."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self._device)
        torch.distributed.broadcast(shared, 0)
        return float(shared)

    def any(self, value: bool) -> bool:
        """Whether it is so for any of the processes."""
        if self.count == 1:
            return value
        shared = torch.tensor([float(value)], device=self._device)
        torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
        return bool(shared)

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
