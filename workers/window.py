"""How a stream is cut into chunks, and how many of them may be out at once."""

from typing import NamedTuple

FRAMES_IN_CHUNK = 4
"""Most frames of a chunk: from here on, moving larger pieces gains little."""

CHUNK_BYTES = 16 << 20
"""What a chunk of several frames stays within."""

CHUNKS_PER_WORKER = 4
"""Chunks of a window for each worker: results leave in order, so with fewer one slow chunk
starves the other workers."""

LEAST_CHUNKS = 2
"""Of a window, whatever the budget: with one, decoding, restoring and encoding take turns."""


class Window(NamedTuple):
    """The decision."""

    frames_per_chunk: int
    chunks: int
    """At most so many are submitted and not yet taken back."""


def frames_in_chunk(frame_bytes: int) -> int:
    """Frames that travel and are batched together, at least 1, for frames of so many bytes."""
    return max(1, min(FRAMES_IN_CHUNK, CHUNK_BYTES // frame_bytes))


def plan_window(workers: int, frame_bytes: int, budget_bytes: int) -> Window:
    """Decide the size of chunks and of the window.

    Args:
        workers: Workers of the pool, at least 1.
        frame_bytes: Bytes of one frame's planes, at least 1.
        budget_bytes: What the chunks of the window and their results may hold together; a
            pool's ``budget_bytes``.

    Returns:
        Frames per chunk depend on the frames alone, so that another number of workers or
        another machine cannot change what is computed. The number of chunks is what keeps all
        workers busy, as far as the budget allows.
    """
    frames = frames_in_chunk(frame_bytes)
    affordable = budget_bytes // (2 * frames * frame_bytes)
    return Window(frames, max(LEAST_CHUNKS, min(CHUNKS_PER_WORKER * workers, affordable)))
