"""A file that cannot be read on at some of its packets, as a damaged one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream


class _Failing:
    def __init__(self, container: InputContainer, errors: Mapping[int, Exception]) -> None:
        self.streams, self.metadata, self.chapters = container.streams, container.metadata, container.chapters
        self._packets = container.demux()
        self._errors = errors
        self._number = 0

    def demux(self, streams: Sequence[Stream]) -> "Iterator[Packet[Stream]]":
        while True:
            self._number += 1
            if error := self._errors.get(self._number):
                raise error
            if (packet := next(self._packets, None)) is None:
                return
            if packet.stream in streams:
                yield packet


def failing_container(container: InputContainer, errors: Mapping[int, Exception]) -> InputContainer:
    """A container that raises errors ahead of packets.

    Args:
        container: What is read, opened.
        errors: By how often a packet, or an error, was asked for.
    """
    return cast(InputContainer, _Failing(container, errors))
