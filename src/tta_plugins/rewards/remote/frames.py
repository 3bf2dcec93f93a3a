"""The messages between the two processes: a JSON header and the raw bytes of tensors. Nothing is unpickled, so neither side runs code.

Both processes use this module, and the other one may have no package except torch; so it imports nothing of this project.
"""

import json
import socket
import struct

import torch

_LENGTHS = struct.Struct(">QQ")
_LIMIT = 1 << 34


class ClosedError(ConnectionError):
    """The other process has ended or closed the connection."""


def send(channel: socket.socket, header: dict, tensors: tuple = ()) -> None:
    """Send a header and float32 tensors, bit for bit."""
    whole = [tensor.detach().to("cpu", torch.float32).contiguous() for tensor in tensors]
    text = json.dumps({**header, "shapes": [list(tensor.shape) for tensor in whole]}).encode()
    bodies = [memoryview(tensor.numpy()).cast("B") if tensor.numel() else memoryview(b"") for tensor in whole]
    try:
        channel.sendall(_LENGTHS.pack(len(text), sum(map(len, bodies))) + text)
        for body in bodies:
            channel.sendall(body)
    except OSError as error:
        raise ClosedError(str(error)) from error


def receive(channel: socket.socket) -> tuple:
    """The next header and its tensors. Raises `ClosedError` if the other process has ended, `TimeoutError` after the socket's timeout."""
    size, total = _LENGTHS.unpack(_exactly(channel, _LENGTHS.size))
    if size > _LIMIT or total > _LIMIT:
        raise ClosedError("the received data is not a message")
    header = json.loads(bytes(_exactly(channel, size)))
    body, tensors, start = _exactly(channel, total), [], 0
    for shape in header.pop("shapes"):
        count = 1
        for side in shape:
            count *= side
        flat = torch.frombuffer(body, dtype=torch.float32, count=count, offset=start) if count else torch.empty(0)
        tensors.append(flat.reshape(shape).clone())
        start += 4 * count
    return header, tensors


def _exactly(channel: socket.socket, count: int) -> bytearray:
    data = bytearray(count)
    view, done = memoryview(data), 0
    while done < count:
        try:
            got = channel.recv_into(view[done:])
        except TimeoutError:
            raise
        except OSError as error:
            raise ClosedError(str(error)) from error
        if not got:
            raise ClosedError("the connection ended")
        done += got
    return data
