import inspect

import pytest

from streamrestore.errors import DeviceMemoryError, RestoreError
from workers.quiet_ray import ray_errors
from workers.ray_failures import DEATHS, NOT_DEATHS, last_line, restorer_error, work_may_be_to_blame

RAY_ERRORS = [
    error
    for _, error in inspect.getmembers(ray_errors, inspect.isclass)
    if issubclass(error, ray_errors.RayError) and error is not ray_errors.RayError
]


@pytest.mark.parametrize("error", RAY_ERRORS, ids=lambda error: error.__name__)
def test_no_error_of_rays_is_forgotten(error: type[BaseException]) -> None:
    named = {ancestor.__name__ for ancestor in error.__mro__} & NOT_DEATHS.keys()
    assert issubclass(error, DEATHS) != bool(named), f"is {error.__name__} a worker's death? Say so, or say why not"


def test_no_reason_is_given_for_an_error_that_is_gone() -> None:
    assert NOT_DEATHS.keys() <= {error.__name__ for error in RAY_ERRORS}


def test_a_restorers_error_comes_back_as_it_was_with_its_traceback() -> None:
    raised = DeviceMemoryError("one patch does not fit")
    sent = ray_errors.RayTaskError("restore", "Traceback\n ...", raised)  # type: ignore[no-untyped-call] # Ray's
    assert restorer_error(sent.as_instanceof_cause()) is raised  # type: ignore[no-untyped-call] # Ray's
    assert isinstance(raised.__cause__, ray_errors.RayTaskError)
    assert "Traceback" in str(raised.__cause__)


def test_an_error_that_cannot_be_pickled_is_named_all_the_same() -> None:
    traceback = "Traceback\n ...\nOddError: of the driver"
    sent = ray_errors.RayTaskError("restore", traceback, ray_errors.RayError("..."))  # type: ignore[no-untyped-call] # Ray's
    error = restorer_error(sent)
    assert type(error) is RestoreError
    assert "OddError: of the driver" in str(error)


def test_other_errors_of_rays_are_translated_and_all_others_left_alone() -> None:
    error = restorer_error(ray_errors.OutOfDiskError("no room"))
    assert type(error) is RestoreError
    assert "OutOfDiskError" in str(error)
    bug = KeyError("bug")
    assert restorer_error(bug) is bug


def test_long_reports_become_one_short_line() -> None:
    assert last_line(RuntimeError("a\n  b\n\n")) == "b"
    assert last_line(RuntimeError()) == "RuntimeError"
    assert len(last_line(RuntimeError("word " * 1000))) <= 200


def test_work_is_not_blamed_where_a_machine_was_lost() -> None:
    assert work_may_be_to_blame(ray_errors.WorkerCrashedError())
    assert work_may_be_to_blame(ray_errors.ActorDiedError())
    assert not work_may_be_to_blame(ray_errors.ActorUnavailableError("Socket closed", None))
    assert not work_may_be_to_blame(ray_errors.NodeDiedError("gone"))  # type: ignore[no-untyped-call] # Ray's
