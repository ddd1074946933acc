"""What a process may take of a GPU's memory, where several share the GPU."""

import torch

USED = 0.9
"""The part of a share that tensors may fill: CUDA itself takes half a GB or so of the rest, in every process."""


def keep_to_share(share: float) -> None:
    """Have this process take no more than its share of the memory of the GPU it sees; without a GPU, do nothing.

    So whoever asks for too much runs out of memory, and halves its batches, however much the others have taken before.

    Args:
        share: Of one GPU: 1 for all of it.
    """
    if share < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(USED * share)


def free_bytes(device: torch.device) -> int:
    """What this process may still take of a GPU's memory beside the blocks that torch keeps for it."""
    free, total = torch.cuda.mem_get_info(device)
    share = torch.cuda.get_per_process_memory_fraction(device)
    return min(free, int(share * total) - torch.cuda.memory_reserved(device))
