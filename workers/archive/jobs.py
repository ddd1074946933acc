"""Ray Jobs: a command that runs on a cluster, started from any machine that reaches the cluster's dashboard."""

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp  # comes with ray[default]
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from streamrestore.errors import ConfigError, WorkerLostError, WorkerStartError
from workers.quiet_ray import ray_errors
from workers.ray_failures import last_line

DRIVER_CPUS = 0.0
"""That a job's own process asks for: it mostly waits. Where a machine has two cores and a worker takes both, even a
hundredth of one would cost a worker. Asking for nothing also puts it on the head's machine, which other machines'
deaths leave alone."""

LOST_SECONDS = 120.0
"""How long a dashboard that does not answer is asked again, before a job is given up."""

_PAUSE_SECONDS = 2.0

_ERRORS = (OSError, RuntimeError, ValueError, ray_errors.RayError, aiohttp.ClientError)


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended."""

    code: int | None
    """Of its process; None where it was stopped, or nobody saw its end."""
    stopped: bool
    """By whoever asked Ray for it."""
    message: str
    """Ray's own."""


class JobClient:
    """Talks to one cluster's dashboard; passive."""

    def __init__(self, address: str) -> None:
        """Connect.

        Args:
            address: The dashboard's, such as ``http://head:8265``.

        Raises:
            ConfigError: It is another kind of address.
            WorkerStartError: Nobody answers there, or the token is not the cluster's.
        """
        if not address.startswith(("http://", "https://")):
            raise ConfigError(f"{address} is no dashboard's address: give one such as http://head:8265")
        # Ray takes whatever these hold in place of the address it is given.
        os.environ["RAY_API_SERVER_ADDRESS"] = address
        try:
            self._client = JobSubmissionClient(address)
        except _ERRORS as error:
            raise WorkerStartError(
                f"the cluster at {address} takes no jobs: {last_line(error)}; check the address, and that "
                "RAY_AUTH_MODE and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) are those of the cluster"
            ) from error
        # Else it says on standard error how the connection for the log was closed.
        logging.getLogger(JobSubmissionClient.__module__).setLevel(logging.WARNING)
        self._address = address

    def submit(self, entrypoint: str, name: str) -> str:
        """Start a job, unless one of that name runs.

        Args:
            entrypoint: A command of the shell, which anyone who may look at the dashboard can read.
            name: Of the job, as often as it is submitted.

        Returns:
            The job's own id: its name, with a number from the second time on.

        Raises:
            ConfigError: It runs already.
            WorkerStartError: The cluster does not take it.
        """
        try:
            jobs = {str(job.submission_id): job.status.is_terminal() for job in self._client.list_jobs()}
            running, job = number_job(name, jobs)
            if running is None:
                return str(
                    self._client.submit_job(entrypoint=entrypoint, submission_id=job, entrypoint_num_cpus=DRIVER_CPUS)
                )
        except _ERRORS as error:
            # Where another one submitted it at the same moment, Ray refuses the second.
            raise WorkerStartError(f"{self._address} did not take the job {name}: {last_line(error)}") from error
        raise ConfigError(
            f"{running} runs already on {self._address}: see `ray job logs --follow {running} --address "
            f"{self._address}`, end it with `ray job stop`, or give this run a name of its own with --id"
        )

    def follow(self, job: str, say: Callable[[str], None]) -> JobEnd:
        """Pass on what a job says until it ends.

        Args:
            job: Its id.
            say: Called with its output, piece by piece.

        Raises:
            WorkerLostError: The cluster is not to be reached any more.
        """
        said, answered = 0, time.monotonic()

        def take(text: str) -> None:
            nonlocal said, answered
            said, answered = said + len(text), time.monotonic()
            say(text)

        while True:
            try:
                asyncio.run(self._tail(job, said, take))
                details = self._client.get_job_info(job)
                if details.status.is_terminal():
                    return end_of(details)
                answered = time.monotonic()
            except _ERRORS as error:
                if time.monotonic() - answered > LOST_SECONDS:
                    raise WorkerLostError(
                        f"{self._address} does not answer any more ({last_line(error)}): whether {job} still runs is "
                        "not known; when the cluster is back, submit it again, and it goes on"
                    ) from error
            time.sleep(_PAUSE_SECONDS)

    async def _tail(self, job: str, said: int, take: Callable[[str], None]) -> None:
        """Pass on a job's output, which comes from its beginning, but for what was said before."""
        async for text in self._client.tail_job_logs(job):
            new = text[said:]
            said = max(0, said - len(text))
            if new:
                take(new)


def number_job(name: str, jobs: Mapping[str, bool]) -> tuple[str | None, str]:
    """Find a job that runs under a name, and the next free id of that name: Ray takes no id twice.

    Args:
        name: It.
        jobs: All ids there are, and whether each has ended.

    Returns:
        The id of the one that runs, if there is one; the next id.
    """
    own = re.compile(rf"{re.escape(name)}(?:-run(\d+))?")
    numbers = {int(match[1] or 1): job for job in jobs if (match := own.fullmatch(job))}
    running = next((job for _, job in sorted(numbers.items()) if not jobs[job]), None)
    number = max(numbers, default=0) + 1
    return running, name if number == 1 else f"{name}-run{number}"


def end_of(details: JobDetails) -> JobEnd:
    """How a job ended, from what Ray says of it."""
    stopped = details.status == JobStatus.STOPPED
    code = 0 if details.status == JobStatus.SUCCEEDED else details.driver_exit_code
    # What may follow is the end of its log, which was shown.
    message = (details.message or "").partition("\n")[0].partition(", last available logs")[0]
    return JobEnd(None if stopped else code, stopped, message)
