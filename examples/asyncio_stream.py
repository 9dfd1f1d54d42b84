"""Classify raw PCM from a socket, in an asyncio program that has other things to do.

    python examples/asyncio_stream.py [AUDIO_FILE]

A small server stands for a microphone in the network; `arecord` or `ffmpeg`, started with
`asyncio.create_subprocess_exec(..., stdout=PIPE)`, is read in the same way.
"""

import asyncio
import sys

import numpy as np

from otic import Event, Item, Pipeline, load_audio, load_bundle
from otic.audio.soundscape import synthesise


async def listen(reader: asyncio.StreamReader, pipe: Pipeline) -> None:
    """Classify until the sender closes."""
    rest = b""
    while data := await reader.read(8192):
        data = rest + data
        whole = len(data) // 2 * 2  # the network may cut a sample in two
        rest = data[whole:]
        y = np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(32768.0)
        # In a thread, so that the loop goes on; one block after the other, because a
        # pipeline is one thread's at a time.
        report(await asyncio.to_thread(pipe.process, y))
    report(pipe.flush())


def report(items: list[Item]) -> None:
    """What a program does with what was heard."""
    for item in items:
        if isinstance(item, Event):
            print(f"{item.time:6.2f} s  {item.label} {item.state}")


async def main(path: str | None = None) -> None:
    bundle = load_bundle("esc10-stream")
    sr = bundle.features.sr
    y = load_audio(path, sr) if path else synthesise(sr)[0]
    pcm = (np.clip(y, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(pcm)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(send, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        listening = asyncio.create_task(listen(reader, Pipeline(bundle)))
        turns = 0
        while not listening.done():  # the rest of the program
            await asyncio.sleep(0.001)
            turns += 1
        await listening
        writer.close()
    print(f"meanwhile the rest of the program had {turns} turns")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
