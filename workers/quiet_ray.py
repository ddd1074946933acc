"""Ray, told to be quiet: it reads these settings when it is imported, so import it from here."""

import os

# Under `uv run`, Ray would start every worker through uv again, and ship the working directory.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Else Ray prints every worker's death on our standard output, and warns of results that nobody
# looked at. The pool looks at all deaths. (A regular expression of the lines to leave out.)
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")

import ray
import ray.exceptions as ray_errors
import ray.util.metrics as ray_metrics

__all__ = ["ray", "ray_errors", "ray_metrics"]
