"""What is predicted grows with what there is to do, and with nothing else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.archive.forecast import FILE_SHARE, NOTHING, Measured, Work, clip_work, forecast, total, total_measured
from pipelines.archive.plan_report import describe_bytes, describe_hours
from streamrestore.devices import CPU_THREADS, DeviceKind

MEASURED = Measured(
    frames=32,
    pixels=32e4,
    decode_seconds=0.4,
    encode_seconds=1.6,
    flops=32e9,
    restore_seconds=4.0,
    key_pixels=1e4,
    key_bytes=4000,
    other_bytes=31000,
    clips=2,
    look_seconds=0.2,
    verify_seconds=0.3,
)

KINDS = st.sampled_from(["cuda", "cpu"])

WORKS = st.builds(
    clip_work,
    frames=st.integers(0, 1_000_000),
    seconds=st.floats(0, 1e6),
    size=st.tuples(st.integers(1, 8000), st.integers(1, 8000)),
    flops_per_frame=st.floats(1, 1e15),
    frames_in_segment=st.floats(1, 300),
    bytes=st.integers(0, 10**15),
    companion_bytes=st.integers(0, 10**12),
)

SOME_MEASURED = st.builds(
    Measured,
    frames=st.integers(1, 32),
    pixels=st.floats(1e6, 1e9),
    decode_seconds=st.floats(0, 100),
    encode_seconds=st.floats(0, 100),
    flops=st.floats(1e6, 1e15),
    restore_seconds=st.floats(0, 100),
    key_pixels=st.floats(1, 1e6),
    key_bytes=st.integers(1, 10**7),
    other_bytes=st.integers(0, 10**8),
    clips=st.integers(1, 3),
    look_seconds=st.floats(0, 10),
    verify_seconds=st.floats(0, 100),
)

CORES = st.floats(0.5, 200)


def test_frames_like_the_measured_ones_take_what_those_took() -> None:
    """On a GPU the slowest stage counts; on a CPU the others take their part of its cores."""
    again = Work(items=2, frames=32, segments=1, pixels=32e4, key_pixels=1e4, flops=32e9)
    beside = 0.4 + 1.6 + FILE_SHARE * 0.2 + 0.3
    on_gpu, on_cpu = forecast([again], MEASURED, "cuda"), forecast([again], MEASURED, "cpu")
    assert on_gpu.device_seconds == pytest.approx(4.0)
    assert on_gpu.bottleneck == on_cpu.bottleneck == "restore"
    assert on_gpu.output_bytes == pytest.approx(35000)
    assert on_gpu.file_seconds == pytest.approx(FILE_SHARE * 0.2 + 0.3)
    assert on_cpu.device_seconds == pytest.approx(4.0 + beside / CPU_THREADS)


def test_a_gpu_waits_for_cores_where_it_has_few() -> None:
    again = Work(items=2, frames=32, segments=1, pixels=32e4, key_pixels=1e4, flops=32e9)
    beside = 0.4 + 1.6 + FILE_SHARE * 0.2 + 0.3
    few, many = forecast([again], MEASURED, "cuda", 0.5), forecast([again], MEASURED, "cuda", 64)
    assert few.device_seconds == pytest.approx(beside / 0.5)
    assert few.bottleneck == "restore", "the others are each less, but not together"
    slow = replace(MEASURED, encode_seconds=400.0)
    assert forecast([again], slow, "cuda", 4).device_seconds == pytest.approx((beside - 1.6 + 400.0) / 4)
    assert many.encode_seconds == forecast([again], MEASURED, "cuda", 1000).encode_seconds
    assert forecast([again], slow, "cuda", 64).bottleneck == "encode", "encoders use so many cores and no more"


def test_a_long_clip_is_verified_for_longer_than_a_short_one() -> None:
    short = Work(items=1, frames=32, segments=1, pixels=32e4, key_pixels=1e4, flops=32e9)
    long = replace(short, frames=3200, pixels=32e6)
    more = forecast([long], MEASURED, "cuda").file_seconds - forecast([short], MEASURED, "cuda").file_seconds
    assert more == pytest.approx(99 * 0.3)


def test_the_bottleneck_is_what_takes_longest() -> None:
    again = Work(items=2, frames=32, segments=1, pixels=32e4, key_pixels=1e4, flops=32e9)
    slow = {
        "decode": replace(MEASURED, decode_seconds=100.0),
        "restore": replace(MEASURED, restore_seconds=100.0),
        "encode": replace(MEASURED, encode_seconds=100.0),
        "files": replace(MEASURED, look_seconds=100.0),
    }
    assert {forecast([again], measured, "cuda").bottleneck: stage for stage, measured in slow.items()} == {
        stage: stage for stage in slow
    }


def test_one_frame_alone_says_how_large_others_are() -> None:
    alone = replace(MEASURED, frames=1, pixels=1e4, other_bytes=0)
    work = Work(items=1, frames=10, segments=1, pixels=10e4, key_pixels=1e4, flops=1e9)
    assert forecast([work], alone, "cpu").output_bytes == pytest.approx(10 * 4000)


@given(WORKS, SOME_MEASURED, KINDS, st.integers(2, 1000))
def test_so_many_clips_take_so_many_times_as_long(work: Work, measured: Measured, kind: DeviceKind, count: int) -> None:
    one, many = forecast([work], measured, kind), forecast([total([work] * count)], measured, kind)
    assert many.device_seconds == pytest.approx(count * one.device_seconds)
    assert many.output_bytes == pytest.approx(count * one.output_bytes)
    assert many.bottleneck == one.bottleneck or many.stages[many.bottleneck] == pytest.approx(
        many.stages[one.bottleneck]
    )


@given(st.lists(WORKS, max_size=5), WORKS, SOME_MEASURED, KINDS, CORES)
def test_more_work_never_takes_less(
    works: list[Work], more: Work, measured: Measured, kind: DeviceKind, cores: float
) -> None:
    before, after = forecast(works, measured, kind, cores), forecast([*works, more], measured, kind, cores)
    assert after.device_seconds >= before.device_seconds
    assert after.output_bytes >= before.output_bytes
    assert after.device_seconds >= max(after.stages.values()) * (1 - 1e-9)
    assert forecast([*works, more], measured, kind, 2 * cores).device_seconds <= after.device_seconds * (1 + 1e-9)


@given(WORKS, SOME_MEASURED, KINDS, st.integers(1, 10_000))
def test_workers_share_the_hours(work: Work, measured: Measured, kind: DeviceKind, workers: int) -> None:
    predicted = forecast([work], measured, kind)
    assert predicted.hours(workers) * workers == pytest.approx(predicted.hours())


@given(st.lists(SOME_MEASURED, min_size=1, max_size=4), WORKS, KINDS)
def test_the_prediction_lies_among_those_of_the_clips_it_is_made_from(
    measured: list[Measured], work: Work, kind: DeviceKind
) -> None:
    alone = [forecast([work], each, kind).restore_seconds for each in measured]
    together = forecast([work], total_measured(measured), kind).restore_seconds
    assert min(alone) * (1 - 1e-6) <= together <= max(alone) * (1 + 1e-6)


@given(WORKS)
def test_segments_are_no_longer_than_they_may_be(work: Work) -> None:
    assert work + NOTHING == work
    assert work.items == 1
    assert 1 <= work.segments <= max(1, 2 * work.frames)


@given(st.integers(1, 100_000), st.floats(1, 300))
def test_there_are_segments_enough(frames: int, most: float) -> None:
    work = clip_work(frames=frames, seconds=1.0, size=(1, 1), flops_per_frame=1.0, frames_in_segment=most)
    assert work.segments * most >= frames - 1e-6
    assert work.segments <= 2 * frames / most + 1


@pytest.mark.parametrize(
    ("hours", "said"),
    [
        (0.0, "0.0 s"),
        (12 / 3600, "12 s"),
        (0.5, "30 min"),
        (7.25, "7.2 h"),
        (71, "71 h"),
        (100, "4.2 days"),
        (24e4, "10,000 days"),
    ],
)
def test_hours_are_said_in_words(hours: float, said: str) -> None:
    assert describe_hours(hours) == said


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (23e9, "23 GB"), (4.2e15, "4,200 TB")]
)
def test_bytes_are_said_in_words(size: float, said: str) -> None:
    assert describe_bytes(size) == said
