from hypothesis import given
from hypothesis import strategies as st

from workers.window import CHUNK_BYTES, CHUNKS_PER_WORKER, FRAMES_IN_CHUNK, LEAST_CHUNKS, plan_window

HD_BYTES = 1920 * 1080 * 3 // 2


def test_hd_travels_in_fours_and_ultra_hd_alone() -> None:
    assert plan_window(1, HD_BYTES, 1 << 30) == (4, 4)
    assert plan_window(8, HD_BYTES, 2 << 30) == (4, 32)
    assert plan_window(8, 8 * HD_BYTES, 2 << 30) == (1, 32)


@given(
    workers=st.integers(1, 64),
    others=st.integers(1, 64),
    frame_bytes=st.integers(1, 1 << 30),
    budget_bytes=st.integers(0, 1 << 34),
)
def test_chunks_depend_on_frames_alone_and_the_window_keeps_to_its_budget(
    workers: int, others: int, frame_bytes: int, budget_bytes: int
) -> None:
    frames, chunks = plan_window(workers, frame_bytes, budget_bytes)
    assert plan_window(others, frame_bytes, 1 << 40).frames_per_chunk == frames
    assert 1 <= frames <= FRAMES_IN_CHUNK
    assert frames == 1 or frames * frame_bytes <= CHUNK_BYTES
    assert LEAST_CHUNKS <= chunks <= max(LEAST_CHUNKS, CHUNKS_PER_WORKER * workers)
    assert chunks == LEAST_CHUNKS or 2 * chunks * frames * frame_bytes <= budget_bytes
