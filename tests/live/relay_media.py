"""The way of packets through the relay: read from a publisher, harmed, queued, and sent to each player."""

import asyncio
import socket
import struct
import time

from tests.live.faults import corrupted, ends_picture, shifted, ticks_of
from tests.live.relay_kept import Place
from tests.live.relay_state import Client, Path, State
from tests.live.rtsp import Packet

HOST = "127.0.0.1"
QUEUE_BYTES = 1 << 20
"""Waiting for a slow player; what comes then is lost for it."""
GLANCE_SECONDS = 0.01
"""How often something that is held looks whether it still is."""


def relay(state: State, client: Client, packet: Packet) -> None:
    """Queue a publisher's packet for the players of its path."""
    if client.role != "pub" or len(packet.data) < 8:
        return  # a player's reports
    place = next((place for place, channel in client.channels.items() if channel == packet.channel), None)
    if place is None:
        return
    path = state.path(client.name)
    number, rtcp = place
    path.packets += 1
    path.size += len(packet.data)
    path.frames += not rtcp and path.tracks[number].kind == "video" and ends_picture(packet.data)
    data = _harmed(state, path, number, rtcp, packet.data)
    if data is None:
        return
    state.relayed += 1
    _keep(path, place, data)
    for player in state.clients_of(client.name, "play"):
        if not player.is_playing:
            continue
        if player.queued_bytes + len(data) > QUEUE_BYTES:
            state.overflowed += 1
        else:
            player.queue.put_nowait((place, data))
            player.queued_bytes += len(data)


def _keep(path: Path, place: Place, data: bytes) -> None:
    if b" H264/" not in path.sdp:
        return
    number, rtcp = place
    known = path.kept.began_with_key is not None
    path.kept.add(place, data, video=not rtcp and path.tracks[number].kind == "video")
    path.unkeyed += not known and path.kept.began_with_key is False


def _harmed(state: State, path: Path, number: int, rtcp: bool, data: bytes) -> bytes | None:
    """What becomes of a packet; None if it is lost."""
    faults, now = path.faults, time.monotonic()
    if now < faults.stalled_until or number in faults.muted:
        return None
    if not rtcp and state.chance.random() < faults.drop:
        state.dropped += 1
        return None
    if not rtcp and state.chance.random() < faults.corrupt:
        state.corrupted += 1
        data = corrupted(data, state.chance)
    ticks = path.clocks.offset(number, path.tracks[number], faults, None if rtcp else ticks_of(data), now)
    return shifted(data, rtcp, ticks, faults.clock_seconds)


async def send(state: State, player: Client, udp: dict[bool, socket.socket]) -> None:
    """Serve a player for as long as it is there, no faster than it may be.

    Args:
        state: Of the relay.
        player: Whom to serve.
        udp: What to send from, by whether it is for RTCP.
    """
    due = 0.0
    while True:
        place, data = await player.queue.get()
        if rate := state.faults(player.name).play_bytes_per_second:
            due = max(due, time.monotonic()) + len(data) / rate
            await asyncio.sleep(due - time.monotonic())
        try:
            if (port := player.ports.get(place)) is not None:
                udp[place[1]].sendto(data, (HOST, port))
            elif (channel := player.channels.get(place)) is not None:
                player.writer.write(struct.pack(">cBH", b"$", channel, len(data)) + data)
                await player.writer.drain()
        except OSError:
            if not player.ports:
                return  # it went; by UDP, a packet is lost
            state.overflowed += 1
        player.queued_bytes -= len(data)


async def read_slowly(state: State, client: Client, count: int) -> None:
    """Come back when the next packet of a publisher may be read, after one of ``count`` bytes."""
    if client.role != "pub" or (rate := state.faults(client.name).publish_bytes_per_second) is None:
        return
    if rate > 0:
        client.read_due = max(client.read_due, time.monotonic()) + count / rate
    while (rate := state.faults(client.name).publish_bytes_per_second) is not None:
        left = client.read_due - time.monotonic() if rate > 0 else GLANCE_SECONDS
        if left <= 0:
            break
        await asyncio.sleep(min(left, GLANCE_SECONDS))
