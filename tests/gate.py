"""A gate before a server: it lets connections through, refuses them, or keeps them waiting without a byte."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

State = Literal["open", "refuses", "hangs"]


class Gate:
    """Forwards a port of its own to that of a server, as long as it is open."""

    def __init__(self, target: int) -> None:
        """Listen on a free port of this machine."""
        self._target, self._state = target, "open"
        self._ends: list[socket.socket] = []
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, state: State) -> None:
        """Change what happens to connections, those that stand too."""
        self._state = state
        if state == "hangs":
            self._open.clear()
            return
        if state == "refuses":
            for end in self._ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._ends.clear()
        self._open.set()

    def close(self) -> None:
        """End it."""
        self.set("refuses")
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._state == "refuses":
                client.close()
                continue
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._open.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        self._ends += [client, server]
        for one, other in ((client, server), (server, client)):
            threading.Thread(target=self._forward, args=(one, other), daemon=True).start()

    def _forward(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                self._open.wait()
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Gates:
    """A gate before each server that is named."""

    def __init__(self) -> None:
        """Begin without any."""
        self.by_name: dict[str, Gate] = {}

    def before(self, name: str, port: int) -> int:
        """Put a gate before a server's port; return the port to speak to."""
        self.by_name[name] = Gate(port)
        return self.by_name[name].port

    def away(self, name: str, state: State, begin: float) -> Callable[[], None]:
        """Let a server go away after `begin` seconds, and come back when what is returned is called."""
        gate = self.by_name[name]
        timer = threading.Timer(begin, gate.set, [state])
        timer.start()

        def come_back() -> None:
            timer.cancel()
            timer.join()
            gate.set("open")

        return come_back
