"""Several processes: one flat gradient buffer is averaged after each backward pass.

Modules are not wrapped in ``DistributedDataParallel``: where a loss is made of a double backward alone (a gradient
penalty) its hooks give silently wrong gradients.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class World:
    """The processes that fit one model together; ``World()`` is the single process."""

    rank: int = 0
    size: int = 1

    @staticmethod
    def join() -> World:
        """Join the process group that ``torchrun`` describes in the environment, once.

        A group of gloo is destroyed before the interpreter ends: its threads may hold tensors still, and one that lets
        go of them too late aborts a process whose work is done. ``torch.distributed.nn`` makes the group of the moment
        a default argument of its functions; were it first imported later (any optimizer does), nothing could free it.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1 or "RANK" not in os.environ:
            return World()
        import torch.distributed as dist
        import torch.distributed.nn

        if not dist.is_initialized():
            backend = "nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend)
            if backend == "gloo":
                atexit.register(_leave)
        return World(dist.get_rank(), dist.get_world_size())

    @staticmethod
    def local_rank() -> int:
        """The number of this process on its own machine."""
        return int(os.environ.get("LOCAL_RANK", "0"))

    @property
    def leader(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace the tensors by their means over the processes, through one flat buffer."""
        if self.size == 1:
            return
        import torch.distributed as dist

        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(mean.view_as(tensor))

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process, so that all of them stop at the same step."""
        if self.size == 1:
            return flag
        import torch.distributed as dist

        count = torch.tensor(float(flag), device=device)
        dist.all_reduce(count)
        return bool(count > 0)

    def agree(self, tensor: Tensor) -> Tensor:
        """The leader's tensor, in every process."""
        if self.size > 1:
            import torch.distributed as dist

            dist.broadcast(tensor, src=0)
        return tensor

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier()


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
