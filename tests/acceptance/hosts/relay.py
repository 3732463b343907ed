"""Passes connections on, byte for byte: the emulators answer on loopback only, and clients send keys in the clear to
loopback only.

`python relay.py FROM:PORT TO:PORT ...`, in pairs.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


async def _serve(source: str, target: str) -> asyncio.Server:
    host, _, port = target.rpartition(":")

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 5)
        except (OSError, TimeoutError):
            writer.close()
            return
        await asyncio.gather(_copy(reader, other_writer), _copy(other_reader, writer))

    own, _, own_port = source.rpartition(":")
    return await asyncio.start_server(accept, own, int(own_port))


async def main(words: list[str]) -> None:
    """Until the process is killed."""
    servers = [await _serve(*pair) for pair in zip(words[::2], words[1::2], strict=True)]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
