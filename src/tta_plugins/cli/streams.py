"""Makes writing to standard output and error never fail: output that cannot be written (full disk, closed pipe) is dropped."""

import errno
import io
import os
import sys
from typing import Any


class Unfailing(io.RawIOBase):
    """A raw stream whose writes always succeed. `failure` is the first error."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream  # a reference, since the underlying file is closed with it
        self._raw = getattr(stream.buffer, "raw", stream.buffer)  # under `python -u` there is no buffer in between
        self.failure: OSError | None = None

    def write(self, data: Any) -> Any:
        """Write the data, or drop them."""
        if self.failure is None:
            try:
                return self._raw.write(data)
            except OSError as error:
                self.failure = error
        return len(data)

    def fileno(self) -> int:
        """The underlying file descriptor."""
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return bool(self._raw.isatty())

    def writable(self) -> bool:
        """Always."""
        return True


def protect() -> None:
    """Make the process's output streams unfailing. Closed ones are opened on the null device, so that no file gets their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name) or open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        stream.flush()
        buffer = io.BufferedWriter(Unfailing(stream))
        setattr(sys, name, io.TextIOWrapper(buffer, stream.encoding, "backslashreplace", line_buffering=stream.line_buffering))


def lost(stream: Any) -> str:
    """Why output to the stream was lost; empty if none was, or if its reader has stopped reading, as `head` does."""
    stream.flush()
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, Unfailing) else None
    return "" if failure is None or failure.errno == errno.EPIPE else str(failure.strerror)
