"""A base in shares: each rank of a gang keeps a part of every weight (FSDP); no file, no adapter.

Zhao et al., "PyTorch FSDP", VLDB 2023, as torch's `fully_shard`. A layer's weights are gathered
when a forward or a backward comes to it and given back behind it, so that a rank holds its share
of the base and one layer. Gathered they are the weights to the bit, and so are the losses.

Adapters are put on such a base as on any other and are whole on every rank; their gradients
travel by DDP. Every rank must run as many forwards as the others, or those wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable

from accelerate import Accelerator
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from objectives.errors import UserError


__all__ = ["beside_ddp", "is_sharded", "load_shares"]


def load_shares(load: Callable[[], PreTrainedModel], accelerator: Accelerator) -> PreTrainedModel:
    """The base with this rank's shares on its device; all ranks must call this.

    The ranks load one after the other: the machine's memory holds the base once.

    Args:
        load: Gives the whole base, frozen, in the machine's memory.
        accelerator: Of a gang of at least two ranks.

    Raises:
        UserError: The model does not say what its layers are.
    """
    assert accelerator.num_processes > 1, "a rank alone has nobody to share with"
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    base = None
    for rank in range(accelerator.num_processes):
        if rank == accelerator.process_index:
            base = load()
            for layer in _layers(base):
                fully_shard(layer, mesh=mesh)
            # What is in no layer: embeddings, the last norm. By default they would stay gathered
            # until somebody asks for the state, as rank 0 alone does to save an adapter.
            fully_shard(base, mesh=mesh, reshard_after_forward=True)
        accelerator.wait_for_everyone()
    assert base is not None
    return base


def _layers(base: PreTrainedModel) -> list[nn.Module]:
    kinds = base._no_split_modules or ()
    layers = [module for module in base.modules() if type(module).__name__ in kinds]
    if not layers:
        raise UserError(
            f"`[model] sharded` = true: {type(base).__name__} does not tell transformers what its "
            "layers are; set sharded = false"
        )
    return layers


def is_sharded(model: nn.Module) -> bool:
    """Whether a model's base, with or without an adapter, is in shares."""
    return any(isinstance(module, FSDPModule) for module in model.modules())


def beside_ddp(model: nn.Module) -> DistributedDataParallel:
    """The model for training: its shares are left to FSDP, its adapter's gradients to DDP."""
    shares = [name for name, p in model.named_parameters() if isinstance(p, DTensor)]
    # torch's own way to combine the two
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(  # type: ignore[no-untyped-call]
        model, shares
    )
    return DistributedDataParallel(model)
