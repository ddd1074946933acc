"""Which of Ray's jobs this process is. Without Ray, so that runs that need none do not load it."""

import json
import os
from contextlib import suppress

_SETTING = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""What Ray calls the variable that tells a job's process of it."""


def own_job() -> str | None:
    """Its id; None where this process was not started as one."""
    with suppress(KeyError, ValueError, TypeError):
        return str(json.loads(os.environ[_SETTING])["metadata"]["job_submission_id"])
    return None
