"""Frames through memory that two processes share."""

import os
from multiprocessing import Pipe
from multiprocessing.reduction import recv_handle, send_handle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamrestore.formats import ColourTags, video_format
from streamrestore.frame import Planes, VideoFormat
from workers.live.ring import FrameRing


def video_of(name: str, width: int = 34, height: int = 18) -> VideoFormat:
    return video_format(width, height, name, ColourTags(), "h264")


def frame_of(video: VideoFormat, seed: int) -> Planes:
    generator = np.random.default_rng(seed)
    kind = np.uint8 if video.pixels.depth <= 8 else np.uint16
    return tuple(generator.integers(0, 1 << video.pixels.depth, shape, kind) for shape in video.plane_shapes())


@settings(max_examples=50, deadline=None)
@given(
    name=st.sampled_from(["yuv420p", "yuv420p10le", "yuv444p", "gray", "gbrp", "yuva420p"]),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    slots=st.integers(1, 5),
)
def test_what_comes_out_is_what_went_in(name: str, size: tuple[int, int], slots: int) -> None:
    video = video_of(name, *size)
    ring = FrameRing.create(slots, video.frame_bytes())
    try:
        frames = [frame_of(video, seed) for seed in range(slots)]
        for frame in frames:
            slot = ring.free_slot()
            assert slot is not None
            ring.fill(slot, frame)
        assert ring.free_slot() is None
        for slot, frame in enumerate(frames):
            for ours, theirs in zip(ring.empty(slot, video), frame, strict=True):
                np.testing.assert_array_equal(ours, theirs)
            assert ring.free_slot() is not None
    finally:
        ring.close()


def test_what_was_taken_out_is_not_written_over() -> None:
    video = video_of("yuv420p")
    ring = FrameRing.create(1, video.frame_bytes())
    first, second = frame_of(video, 1), frame_of(video, 2)
    ring.fill(0, first)
    taken = ring.empty(0, video)
    ring.fill(0, second)
    np.testing.assert_array_equal(taken[0], first[0])
    ring.close()


def test_the_other_process_sees_it_through_the_descriptor() -> None:
    video = video_of("yuv420p")
    ours, theirs = Pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ring = FrameRing(recv_handle(theirs), 3, video.frame_bytes())
            ring.fill(ring.free_slot() or 0, frame_of(video, 7))
            theirs.send("filled")
            theirs.recv()
            code = 0 if ring.free_slot() == 0 else 2
        finally:
            os._exit(code)
    ring = FrameRing.create(3, video.frame_bytes())
    send_handle(ours, ring.descriptor, child)
    assert ours.recv() == "filled"
    for taken, sent in zip(ring.empty(0, video), frame_of(video, 7), strict=True):
        np.testing.assert_array_equal(taken, sent)
    ours.send("emptied")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ring.close()
    ours.close()
    theirs.close()


def test_closing_gives_the_descriptor_back() -> None:
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    ring = FrameRing.create(2, 100)
    ring.close()
    ring.close()
    if before is not None:
        assert set(os.listdir("/proc/self/fd")) == before
