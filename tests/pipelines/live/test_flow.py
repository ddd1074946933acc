"""Frames on their way: none is lost, each has one fate, and none waits where nobody can take it."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.live.config import DropPolicy
from pipelines.live.flow import PENDING_FRAMES, PROBE_SECONDS, WAITING_FRAMES, FrameFlow, LiveFrame
from streamrestore.frame import Planes, Restored
from streamrestore.patches import plan_patches
from tests.clips import INFO

PLAN = plan_patches(INFO.video.picture.upright_size, crop=32, batch_pixels=1, frames=1)
PLANES = tuple(np.zeros(shape, np.uint8) for shape in INFO.video.plane_shapes())


def add(flow: FrameFlow, now: float, planes: Planes = PLANES) -> None:
    flow.add(planes, INFO, PLAN, round(now * 1000), now, now)


def restored(frame: LiveFrame) -> Restored:
    return Restored(tuple(plane[None] for plane in frame.planes), 0.01)


def count(flow: FrameFlow) -> int:
    fates = flow.fates
    return sum(fates.restored.values()) + fates.passed + sum(fates.dropped.values())


def test_without_workers_no_frame_waits_to_be_restored() -> None:
    flow = FrameFlow("degrade", 1.0)
    for number in range(750):
        add(flow, number / 25)
        assert not flow.pending
        assert len(list(flow.take(number / 25))) == 1
    assert flow.fates.passed == 750


def test_where_frames_are_passed_on_one_at_a_time_tells_what_restoring_takes() -> None:
    flow = FrameFlow("degrade", 1.0)
    flow.probes = True
    for number in range(250):
        add(flow, 100 + number / 25)
        assert len(flow.pending) <= 1
    (probe,) = flow.pending
    flow.pending.clear()
    flow.answer(probe, restored(probe), 1, 120.0)
    add(flow, 120.0 + PROBE_SECONDS)
    assert len(flow.pending) == 1
    assert flow.in_flight == 251, "what was tried is no frame of the stream"


@pytest.mark.parametrize("policy", ["degrade", "drop-oldest", "wait"])
def test_what_becomes_of_frames_for_which_no_restorer_is_free(policy: DropPolicy) -> None:
    flow = FrameFlow(policy, 1.0)
    flow.level = 3
    number = 0
    while number < 40 and not flow.is_full:
        add(flow, number / 25)
        number += 1
    shown = list(flow.take(39 / 25))
    if policy == "wait":
        assert number == WAITING_FRAMES
        assert len(flow.pending) == WAITING_FRAMES
        assert flow.take_overflow() == 0
    else:
        assert len(flow.pending) == PENDING_FRAMES
        assert flow.take_overflow() == 40 - PENDING_FRAMES
        assert flow.take_overflow() == 0
    assert (flow.fates.passed, flow.fates.dropped.get("overload", 0)) == {
        "degrade": (40 - PENDING_FRAMES, 0),
        "drop-oldest": (0, 40 - PENDING_FRAMES),
        "wait": (0, 0),
    }[policy]
    assert len(shown) == flow.fates.passed


@given(
    seed=st.integers(0, 1 << 32),
    policy=st.sampled_from(["degrade", "drop-oldest", "wait"]),
    lost=st.floats(0.0, 0.5),
)
def test_every_frame_has_one_fate_and_leaves_in_order_whatever_restorers_do(
    seed: int, policy: DropPolicy, lost: float
) -> None:
    random = Random(seed)
    flow = FrameFlow(policy, 0.5)
    out, left, now = list[LiveFrame](), list[int](), 0.0
    for _ in range(200):
        now += random.uniform(0.0, 0.1)
        flow.level, flow.probes = random.choice([(0, False), (0, True), (3, True), (3, True)])
        flow.skip(random.choice([0, 0, 0, 2]))
        if not flow.is_full:
            add(flow, now)
        while flow.pending and len(out) < 4:
            out.append(flow.pending.popleft())
        if out and random.random() < 0.6:
            frame = out.pop(random.randrange(len(out)))
            flow.answer(frame, None if random.random() < lost else restored(frame), 3, now)
        if random.random() < 0.01:
            flow.fail()
        left += [frame.number for frame in flow.take(now)]
        assert flow.fates.captured == count(flow) + flow.in_flight
    flow.release(now)
    left += [frame.number for frame in flow.take(now)]
    assert flow.in_flight == 0
    assert flow.fates.captured == count(flow)
    assert left == sorted(set(left))
    if policy == "wait":
        assert flow.fates.dropped.keys() <= {"reader", "failed"}
