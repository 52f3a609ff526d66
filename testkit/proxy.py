"""The TCP proxy between a drill's daemon and its database: it can cut, mute and misdirect what goes through it."""

import contextlib
import re
import socket
import struct
import threading
from typing import Literal

Trap = Literal["statement", "before_commit", "commit"]

_COMMIT = re.compile(rb"Q\x00\x00\x00\x0b(?i:commit)\x00")
_STATEMENT = re.compile(rb"^[PQ]\x00")
_RESET = struct.pack("ii", 1, 0)
_CHUNK_BYTES = 65536


class Listener:
    """Takes connections to an address of this machine until it is closed, each in a thread of its own."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._listener = socket.create_server((host, port))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name="drill proxy", daemon=True)
        self._thread.start()

    def serve(self, client: socket.socket) -> None:
        """Serves one connection."""
        raise NotImplementedError

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), name="drill proxy link", daemon=True).start()


class Proxy(Listener):
    """Forwards connections to a port of the loopback."""

    def __init__(self, target_port: int, host: str = "127.0.0.1", port: int = 0) -> None:
        self.target_port = target_port
        self.trapped = threading.Event()
        """Set when a trap has struck."""
        self._trap: Trap | None = None
        self._lock = threading.Lock()
        self._open: set[_Link] = set()
        super().__init__(host, port)

    def cut(self) -> int:
        """Resets every open connection; returns how many there were."""
        with self._lock:
            links, self._open = self._open, set()
        for link in links:
            link.cut()
        return len(links)

    def set_trap(self, trap: Trap) -> None:
        """The next statement is cut off half sent, the next COMMIT never arrives, or its answer doesn't; once."""
        self.trapped.clear()
        self._trap = trap

    def take_trap(self, data: bytes) -> Trap | None:
        """The trap that this piece from the daemon springs, if any."""
        with self._lock:
            pattern = _STATEMENT if self._trap == "statement" else _COMMIT
            if self._trap is None or pattern.search(data) is None:
                return None
            trap, self._trap = self._trap, None
        return trap

    def close(self) -> None:
        super().close()
        self.cut()

    def forget(self, link: "_Link") -> None:
        """Removes a link that has ended by itself."""
        with self._lock:
            self._open.discard(link)

    def serve(self, client: socket.socket) -> None:
        """Connects it to the target, for as long as both go on."""
        try:
            server = socket.create_connection(("127.0.0.1", self.target_port), timeout=5)
        except OSError:
            reset(client)
            return
        server.settimeout(None)
        for side in (client, server):  # without, 40 ms for what is sent in two pieces
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(self, client, server)
        with self._lock:
            self._open.add(link)
        link.run()


class _Link:
    """One connection through the proxy, with a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client, self._server = client, server
        self._mute = False
        self._answered = threading.Event()

    def run(self) -> None:
        threading.Thread(target=self._to_client, name="drill proxy link", daemon=True).start()
        self._to_server()

    def cut(self) -> None:
        """Ends it as a network that has gone does: with a reset on the daemon's side."""
        reset(self._client)
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)

    def _to_server(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._client.recv(_CHUNK_BYTES):
                trap = self._proxy.take_trap(data)
                if trap is None:
                    self._server.sendall(data)
                    continue
                if trap == "statement":
                    self._server.sendall(data[: len(data) // 2])
                elif trap == "commit":
                    self._mute = True
                    self._server.sendall(data)
                    self._answered.wait(5)
                self.cut()
                self._proxy.trapped.set()
                break
        self._end()

    def _to_client(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(_CHUNK_BYTES):
                if self._mute:
                    self._answered.set()
                else:
                    self._client.sendall(data)
        self._end()

    def _end(self) -> None:
        self._proxy.forget(self)
        for sock in (self._client, self._server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def reset(sock: socket.socket) -> None:
    """Ends a connection as a network that has gone does."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # A shutdown first wakes the thread that reads; the linger makes the close behind it a reset.
        sock.shutdown(socket.SHUT_RD)
        sock.close()
