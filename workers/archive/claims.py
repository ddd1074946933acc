"""Claims on devices: how a run that cannot wait, such as live streams, gets them from one that can.

A claim is an actor of Ray's that needs nothing and does nothing, and whose name says what is wanted. It ends with the
process that made it. Pools of steps look for claims, and leave as many devices as are claimed; so a claim is put up
before the workers that it is for are started, and stays for as long as they are to run, to come back at once if they
die.
"""

import re
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from workers.quiet_ray import ray, ray_errors

NAMESPACE = "streamrestore"

_NAME = re.compile(r"claim-(?P<user>\w+)-(?P<workers>\d+)x(?P<gpus>\d+(\.\d+)?)-\w+")


class Claim:
    """A claim that is up until it is closed, or this process ends."""

    def __init__(self, user: str, workers: int, gpus: float) -> None:
        """Put it up; this process is connected to Ray.

        Args:
            user: What claims them, in a word.
            workers: How many workers.
            gpus: GPUs, or the share of one, that each of them asks for.
        """
        name = f"claim-{user}-{workers}x{gpus:g}-{uuid.uuid4().hex}"
        self._actor: Any = ray.remote(_Claimed).options(num_cpus=0, name=name, namespace=NAMESPACE).remote()

    def close(self) -> None:
        """Take it down; may be called twice."""
        with suppress(ray_errors.RayError):
            ray.kill(self._actor)


class _Claimed:
    """Is there."""


def claimed_gpus(actors: Iterable[Mapping[str, str]]) -> float:
    """How many GPUs are claimed, all together.

    Args:
        actors: Name and namespace of every named actor there is.
    """
    names = (actor["name"] for actor in actors if actor["namespace"] == NAMESPACE)
    claims = (match for name in names if (match := _NAME.fullmatch(name)))
    return sum(int(claim["workers"]) * float(claim["gpus"]) for claim in claims)
