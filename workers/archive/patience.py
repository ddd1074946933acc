"""How long steps and workers of an archive may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepPatience:
    """Generous by default: nobody watches, and what is killed in the middle is done again from its start."""

    times_expected: float = 10.0
    """A worker whose step takes so many times longer than expected is killed: it hangs."""
    least_seconds: float = 300.0
    """But not before it has taken this long."""
    unknown_seconds: float = 3600.0
    """How long a step may take where nothing is expected."""
    twice_seconds: float = 5.0
    """No step is run a second time before it has taken this long."""
    start_seconds: float = 900.0
    """A worker that a machine has room for, and that is not ready after this long, is killed."""
    kind_seconds: float = 900.0
    """How long steps of a kind wait while there are workers, but none of that kind."""
    rest_seconds: float = 60.0
    """How long a slot whose workers cannot start rests at first; then twice as long, and so on."""
    longest_rest_seconds: float = 600.0
    """What that grows to."""
