"""What Ray's errors mean: a dead worker, a restorer's own error, or Ray itself broken."""

import textwrap

from streamrestore.errors import DeviceLostError, MachineError, RestoreError
from workers.quiet_ray import ray_errors

DEATHS: tuple[type[ray_errors.RayError], ...] = (
    ray_errors.RayActorError,
    ray_errors.WorkerCrashedError,
    ray_errors.NodeDiedError,
    ray_errors.OutOfMemoryError,
    ray_errors.ObjectLostError,
)
"""What Ray raises when a worker, or the node with its result, is gone: try again elsewhere."""

NOT_DEATHS = {
    "RayTaskError": "the restorer raised; the same chunk would raise again",
    "UserCodeException": "the base of errors raised by code that Ray ran",
    "CrossLanguageError": "no other languages here",
    "TaskCancelledError": "we cancel no task, we kill workers",
    "GetTimeoutError": "we never ask with a time limit",
    "LocalRayletDiedError": "Ray itself is gone from this machine, nothing can be retried",
    "RaySystemError": "Ray, or what was sent through it, is broken, not a worker",
    "RpcError": "Ray's own calls; what they mean for a worker comes as another class",
    "AuthenticationError": "the token is wrong and stays wrong",
    "RuntimeEnvSetupError": "we ask for no runtime environment",
    "ObjectStoreFullError": "the window is too large for the store: the next worker has the same store",
    "OutOfDiskError": "no room to spill: the next worker has the same disk",
    "PlasmaObjectNotAvailable": "only for callers who ask without waiting",
    "ActorUnschedulableError": "no node can ever hold the worker",
    "TaskUnschedulableError": "we submit no tasks",
    "ActorAlreadyExistsError": "our workers have no names",
    "ActorHandleNotFoundError": "a handle from another session of Ray: a bug",
    "AsyncioActorExit": "our workers are not asyncio",
    "PendingCallsLimitExceeded": "we set no limit",
    "ActorPlacementGroupRemoved": "we use no placement groups",
    "TaskPlacementGroupRemoved": "we use no placement groups",
    "ObjectRefStreamEndOfStreamError": "we use no generators",
    "OufOfBandObjectRefSerializationException": "a reference was pickled by hand: a bug",
    "UnserializableException": "the restorer raised something that cannot be pickled",
}
"""Ray's other errors, and why none of them means that a worker died. With subclasses."""


def loss_of_worker(error: BaseException | None) -> BaseException | None:
    """Why a worker is dead, or as good as dead as it can do nothing; None for what is no reason to replace it."""
    if error is None or isinstance(error, DEATHS):
        return error
    raised = restorer_error(error)
    return raised if isinstance(raised, DeviceLostError | MachineError) else None


def work_may_be_to_blame(death: BaseException) -> bool:
    """Whether a worker may have died of what it was doing; not where its machine, or the way to it, is at fault."""
    if isinstance(
        death, MachineError | ray_errors.ActorUnavailableError | ray_errors.NodeDiedError | ray_errors.ObjectLostError
    ):
        return False
    # Ray has no class for it where the worker is an actor.
    return "its node has died" not in str(death)


def last_line(error: BaseException) -> str:
    """What went wrong, in one line: Ray's messages are tracebacks and reports of many lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return textwrap.shorten(lines[-1].rstrip("."), 200, placeholder=" ...") if lines else type(error).__name__


def restorer_error(error: BaseException) -> BaseException:
    """What a restorer raised in its worker, in its own class; or what another error of Ray's means."""
    if not isinstance(error, ray_errors.RayError):
        return error
    translated: BaseException = RestoreError(
        f"Ray could not do what a worker was asked for: {type(error).__name__}: {last_line(error)}"
    )
    if isinstance(error, ray_errors.RayTaskError) and not isinstance(error.cause, ray_errors.RayError):
        translated = error.cause
    # Ray's error has the traceback from inside the worker.
    translated.__cause__ = error
    return translated
