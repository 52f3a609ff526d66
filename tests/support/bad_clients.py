"""A thousand clients of an HTTP endpoint that are slow, broken or both, for tests and benchmarks."""

import asyncio
import itertools
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path

Address = Path | tuple[str, int]
Kind = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: daemon\r\n\r\n"
ENOUGH_SECONDS = 60.0
DEAF_SECONDS = 15.0


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Connects and says nothing."""
    await reader.read()


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends a request a byte a second."""
    for byte in itertools.cycle(REQUEST[:-2]):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1.0)


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends half a header, then waits."""
    writer.write(REQUEST[:20])
    await reader.read()


async def babbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends what is no HTTP."""
    writer.write(b"\x16\x03\x01" + bytes(range(256)) * 8)
    await reader.read()


async def wordy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends a header that doesn't end."""
    writer.write(b"GET / HTTP/1.1\r\nX-Long: ")
    for _ in range(100):
        writer.write(b"a" * 10_000)
        await writer.drain()


async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Asks, and never reads the answer."""
    writer.write(REQUEST * 20)
    await asyncio.sleep(DEAF_SECONDS)


async def torn(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Resets the connection in the middle of its request."""
    writer.write(REQUEST[:30])
    await writer.drain()
    sock: socket.socket = writer.get_extra_info("socket")
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def lying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Announces a body in chunks that aren't any."""
    writer.write(b"POST /status HTTP/1.1\r\nHost: daemon\r\nTransfer-Encoding: chunked\r\n\r\n")
    await asyncio.sleep(0.01)
    writer.write(b"not a chunk\r\n")
    await reader.read()


KINDS: tuple[Kind, ...] = (silent, dripping, half, babbling, wordy, deaf, torn, lying)


async def _client(kind: Kind, address: Address) -> None:
    """Lives until it has had enough, or the endpoint of it."""
    writer: asyncio.StreamWriter | None = None
    with suppress(OSError):
        try:
            reader, writer = await (
                asyncio.open_unix_connection(address)
                if isinstance(address, Path)
                else asyncio.open_connection(*address)
            )
            await kind(reader, writer)
        finally:
            if writer is not None:
                writer.transport.abort()


async def _all(number: int, address: Address) -> None:
    async with asyncio.timeout(ENOUGH_SECONDS):
        await asyncio.gather(*(_client(KINDS[each % len(KINDS)], address) for each in range(number)))


async def _greedy(address: Path, over: Callable[[], bool]) -> int:
    answers = 0
    while not over():
        with suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(address)
            writer.write(REQUEST)
            answers += bool(await reader.read())
            writer.close()
    return answers


async def _all_greedy(number: int, address: Path, over: Callable[[], bool]) -> int:
    return sum(await asyncio.gather(*(_greedy(address, over) for _ in range(number))))


def greed(address: Path, number: int, over: Callable[[], bool]) -> int:
    """Lets clients ask as fast as they are answered until it is over; returns how many answers there were."""
    return asyncio.run(_all_greedy(number, address, over))


def storm(address: Address, number: int = 1000) -> None:
    """Lets that many loose at once; returns when the last is gone. Raises TimeoutError if the endpoint keeps one."""
    asyncio.run(_all(number, address))
