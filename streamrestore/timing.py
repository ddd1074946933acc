"""Give every picture a time, where some times are missing or do not rise."""


def plan_time(pts: int | None, following: int | None, last: int | None, step: int) -> int:
    """The time at which a picture is shown: its own wherever that is possible.

    A picture without a time, or with one that does not follow its predecessor's, is shown one step
    after that. So is one whose time alone leaps ahead, which the next picture tells: were it kept, all
    others would have to wait for it. Where a step would reach the next picture, half the way is taken.

    Args:
        pts: The picture's own time, in ticks as all others.
        following: The next picture's own time; None if it has none, or there is none.
        last: When the picture before is shown; None for the first, whose time is kept.
        step: How long the picture before lasts, at least 1.

    Returns:
        A time after ``last``. Where the pictures' own times rise, each keeps its own.
    """
    if last is None:
        return 0 if pts is None else pts
    leaps = pts is not None and following is not None and last < following < pts
    if pts is not None and pts > last and not leaps:
        return pts
    room = None if following is None else following - last
    return last + (max(1, room // 2) if room is not None and 1 <= room <= step else step)
