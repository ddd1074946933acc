"""The RTSP relay's process: clients publish and play on any path, and it misbehaves on command. Loopback only."""

import asyncio
import socket
import time
from typing import Any

from tests.live import parent
from tests.live.faults import tracks_of
from tests.live.ports import free_port
from tests.live.relay_kept import Kept
from tests.live.relay_media import GLANCE_SECONDS, HOST, read_slowly, relay, send
from tests.live.relay_state import Client, State
from tests.live.rtsp import METHODS, Answer, Door, Packet, Request, pair, receive, without_sprop

RECEIVE_BYTES = 128 << 10
"""Of each connection in the kernel: a publisher shall soon feel that nobody reads."""


class RelayServer:
    """Listens, answers, and does what the test commands."""

    def __init__(self, door: Door, port: int) -> None:
        """Nothing is open yet.

        Args:
            door: Who may publish and play.
            port: Where to listen.
        """
        self.state = State()
        self._port = port
        self._door = door
        self._listener: asyncio.Server | None = None
        self._udp: dict[bool, socket.socket] = {}

    async def start(self) -> None:
        """Listen, and be ready to send by UDP.

        Raises:
            OSError: A port is taken.
        """
        await self._listen()
        first = free_port(2)
        for rtcp in (False, True):
            self._udp[rtcp] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._udp[rtcp].setblocking(False)
            self._udp[rtcp].bind((HOST, first + rtcp))

    async def obey(self, command: str, arguments: dict[str, Any]) -> object:
        """Carry out a command of `tests.live.relay.Relay`."""
        match command:
            case "set":
                self.state.change(arguments["path"], **arguments["faults"])
            case "jump":
                self.state.jump(**arguments)
            case "kill":
                if not arguments["listen"] and self._listener is not None:
                    self._listener.close()
                    self._listener = None
                for client in list(self.state.clients):
                    client.hang_up(arguments["rst"])
            case "kick":
                for client in list(self.state.clients_of(arguments["path"], arguments["role"])):
                    client.hang_up(arguments["rst"])
            case "relisten":
                await self._listen()
            case "stats":
                return self.state.stats()
            case _:
                raise ValueError(command)
        return None

    async def _listen(self) -> None:
        if self._listener is not None:
            return
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            listener.bind((HOST, self._port))
            self._listener = await asyncio.start_server(self._serve, sock=listener)
        except OSError:
            listener.close()
            raise

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(reader, writer)
        self.state.clients.add(client)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                message = await receive(reader)
                if isinstance(message, Request):
                    self._note(client, message)
                while time.monotonic() < self.state.faults(client.name).frozen_until:
                    await asyncio.sleep(GLANCE_SECONDS)
                if isinstance(message, Packet):
                    relay(self.state, client, message)
                    await read_slowly(self.state, client, len(message.data))
                elif not client.is_ignored:
                    writer.write(self._answer(client, message).to(message))
                    await writer.drain()
                    if message.method == "PLAY" and client.role == "play":
                        self._begin_to_play(client)
                    if message.method == "TEARDOWN":
                        break
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass
        finally:
            self._part_from(client)

    def _note(self, client: Client, request: Request) -> None:
        now = time.monotonic()
        if client.role is None:
            client.name = request.path
        client.requests += 1
        if client.requests == 1 and now < self.state.faults(client.name).unanswered_until:
            client.is_ignored = True
        self.state.requests.append((now, request.method, client.name))

    def _answer(self, client: Client, request: Request) -> Answer:
        if request.method in ("DESCRIBE", "ANNOUNCE") and not self._door.lets_in(request, client.nonce):
            return self._door.question(client.nonce)
        match request.method:
            case "OPTIONS":
                return Answer(headers={"Public": METHODS})
            case "ANNOUNCE":
                return self._announce(client, request)
            case "DESCRIBE":
                return self._describe(client, request)
            case "SETUP":
                return self._set_up(client, request)
            case _:
                return Answer(headers={"Session": client.session})

    def _announce(self, client: Client, request: Request) -> Answer:
        path = self.state.path(client.name)
        if path.publisher is not None:
            return Answer("403 Forbidden")
        path.publisher, path.sdp, path.tracks = client, request.body, tracks_of(request.body.decode("latin-1"))
        path.generation += 1
        path.kept = Kept()
        client.role = "pub"
        return Answer()

    def _describe(self, client: Client, request: Request) -> Answer:
        faults = self.state.faults(client.name)
        if faults.redirected_to is not None:
            return Answer("302 Found", {"Location": f"rtsp://{HOST}:{self._port}/{faults.redirected_to}"})
        path = self.state.paths.get(client.name)
        if path is None or path.publisher is None:
            return Answer("404 Not Found")
        client.role = "play"
        sdp = without_sprop(path.sdp) if faults.without_sprop else path.sdp
        return Answer(headers={"Content-Type": "application/sdp", "Content-Base": f"{request.url}/"}, body=sdp)

    def _set_up(self, client: Client, request: Request) -> Answer:
        if client.role is None:
            return Answer("455 Method Not Valid in This State")
        control = request.path.rsplit("/", 1)[-1]
        tracks = self.state.path(client.name).tracks
        number = next((number for number, track in enumerate(tracks) if track.control == control), None)
        if number is None:
            return Answer("404 Not Found")
        wanted = request.headers.get("transport", "")
        if channels := pair(wanted, "interleaved"):
            client.channels[number, False], client.channels[number, True] = channels
            transport = f"RTP/AVP/TCP;unicast;interleaved={channels[0]}-{channels[1]}"
        elif client.role == "play" and (ports := pair(wanted, "client_port")):
            client.ports[number, False], client.ports[number, True] = ports
            own = self._udp[False].getsockname()[1]
            transport = f"RTP/AVP;unicast;client_port={ports[0]}-{ports[1]};server_port={own}-{own + 1}"
        else:
            return Answer("461 Unsupported Transport")
        timeout = self.state.faults(client.name).session_timeout_seconds
        return Answer(headers={"Transport": transport, "Session": f"{client.session};timeout={timeout}"})

    def _begin_to_play(self, player: Client) -> None:
        player.is_playing = True
        if seconds := self.state.faults(player.name).burst_seconds:
            for place, data in self.state.path(player.name).kept.since(seconds):
                player.queue.put_nowait((place, data))
                player.queued_bytes += len(data)
        if player.sender is None:
            player.sender = asyncio.create_task(send(self.state, player, self._udp))

    def _part_from(self, client: Client) -> None:
        self.state.clients.discard(client)
        if client.sender is not None:
            client.sender.cancel()
        path = self.state.paths.get(client.name)
        if path is not None and path.publisher is client:
            path.publisher = None
            for player in list(self.state.clients_of(client.name, "play")):  # as MediaMTX does
                player.hang_up(rst=False)
        client.writer.close()


async def _main(settings: dict[str, Any]) -> None:
    door = Door(settings["user"], settings["password"], settings["digest"])
    server = RelayServer(door, settings["port"])
    await server.start()
    loop = asyncio.get_running_loop()

    def obey(command: str, arguments: dict[str, Any]) -> object:
        return asyncio.run_coroutine_threadsafe(server.obey(command, arguments), loop).result()

    parent.obey(obey)
    parent.say("answer", None, None)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(parent.settings()))
