"""The networks of an archive run: what its items need between them, for each kind of device that may restore."""

from collections.abc import Mapping, Sequence

from pipelines.archive.items import ArchiveItem
from pipelines.archive.request import NetworkRequest
from pipelines.arguments import AUTO, is_auto, parse_stages, parse_tasks, weights_per_task
from streamrestore.assessor import load_assessor
from streamrestore.checkpoint import Model
from streamrestore.devices import DeviceKind
from streamrestore.tasks import Task
from streamrestore.weights import find_weights, find_weights_for_all


def find_network(
    wanted: str,
    weights: Sequence[str],
    kinds: Sequence[DeviceKind],
    items: Sequence[ArchiveItem],
    *,
    precision: str = "auto",
    stages: int = 3,
    local_pooling: bool = False,
    strength: float = 1.0,
) -> NetworkRequest:
    """Read the weights of all tasks that a run or one of its items asks for.

    Args:
        wanted: The run's tasks, as of ``-t``; may be empty where every item names its own.
        weights: Names or files, as of ``--weights``.
        kinds: Devices that may restore.
        items: May ask for tasks of their own.
        precision: As of ``--precision``.
        stages: Of the network.
        local_pooling: Whole frames, attention pooled as in training.
        strength: 0 to 1.

    Raises:
        ConfigError: Neither the run nor an item says what is to be done, or weights do not fit the tasks.
        ModelError: There are no weights for a task, several, or they are damaged.
    """
    chains = {item.options.task for item in items}
    tasks = () if is_auto(wanted) or (not wanted and None not in chains) else parse_tasks(wanted)
    auto = is_auto(wanted) or (AUTO,) in chains
    own = [item.options for item in items if item.options.task is not None or item.options.weights is not None]
    models: dict[DeviceKind, Mapping[tuple[Task, str | None], Model]] = {}
    for kind in kinds:
        found: dict[tuple[Task, str | None], Model] = {}
        if auto:
            found = {(model.task, None): model for model in find_weights_for_all(weights, kind)}
        for task, name in zip(tasks, weights_per_task(tasks, () if auto else weights), strict=True):
            found[task, None] = find_weights(task, name, kind)
        for options in own:
            chain = tuple[Task, ...](task for task in options.task or tasks if task != "auto")
            for task, name in zip(chain, weights_per_task(chain, options.weights or ()), strict=True):
                if (task, name) not in found:
                    found[task, name] = find_weights(task, name, kind)
        models[kind] = found
    return NetworkRequest(
        models=models,
        tasks=tasks,
        precision=precision,
        stages=parse_stages(stages),
        local_pooling=local_pooling,
        strength=strength,
        assessor=load_assessor() if auto else None,
    )
