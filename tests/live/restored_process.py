"""Runs the live pipeline with restorers that sleep in place of a network; `restored.Restored` holds it."""

import sys
from functools import partial
from pathlib import Path

from pipelines.live.config import stream_of
from pipelines.live.log import set_up_log
from pipelines.live.run import FILL_SECONDS, PATIENCE, LiveOptions, run_live
from pipelines.planning import Network
from pipelines.signals import StopRequest, stop_on_signals
from streamrestore.devices import Device, Precision
from tests.live.parent import obey, say, settings
from tests.live.sleeper import Sleeper
from tests.networks import tiny_model
from workers import RestorerPool, open_pool


def main() -> int:
    """Run until told to stop, or stopped by a signal; the exit code."""
    given = settings()
    streams = [stream_of(**{"task": "derain", **stream}) for stream in given["streams"]]
    secrets = [secret for stream in streams for each in (stream.source, *stream.to) for secret in each.secrets]
    set_up_log(given["log_format"], secrets, background=True)
    build = partial(Sleeper, given["seconds"], given["jitter"], Path(given["slowness"]))

    def start() -> RestorerPool:
        if given["workers"]:
            import tests
            from workers.quiet_ray import ray

            ray.cloudpickle.register_pickle_by_value(tests)  # type: ignore[no-untyped-call] # Ray's, without types
        return open_pool(build, workers=given["workers"], fill_seconds=FILL_SECONDS, patience=PATIENCE)

    network = Network((tiny_model(),), Device("cpu", 0, "a CPU", 1 << 30, bf16=False), Precision.FP32)
    options = LiveOptions(network, None, given["status"], given["duration"])

    with stop_on_signals() as request:
        obey(partial(_do, request))
        say("answer", None, None)  # the settings were understood
        return run_live(streams, options, start, request)


def _do(request: StopRequest, command: str, arguments: dict[str, object]) -> object:
    assert command == "stop", f"{command} {arguments}"
    request.event.set()
    return None


if __name__ == "__main__":
    sys.exit(main())
