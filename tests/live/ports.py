"""Ports of 127.0.0.1 that nobody uses, for servers, and for addresses where nothing listens."""

import random
import socket

RANGE = range(20000, 32000)
"""Below those that Linux gives to outgoing connections: one of them would take the port while its server is away, or,
in trying to reach it, connect to itself."""

_chance = random.SystemRandom()


def free_port(count: int = 1) -> int:
    """The first of so many neighbours, free for TCP and UDP when it was looked at; an even one.

    Raises:
        OSError: None was found.
    """
    for port in _chance.sample(RANGE[::2], 200):
        if all(_is_free(port + number) for number in range(count)):
            return port
    raise OSError(f"found no {count} free ports in {RANGE}")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
