"""A transport that records what is done to it, for connections that are driven by hand."""

from __future__ import annotations

import asyncio


class FakeTransport(asyncio.Transport):
    """Takes everything at once, unless ``stuck``."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.stuck = False  # takes nothing: what is written stays in its buffer
        self.unsent = 0
        self.reading = True
        self.state = "open"  # open | closing | eof | aborted
        self.protocol: asyncio.BaseProtocol | None = None  # if it was given another

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert self.state in {"open", "eof"}, f"written to while {self.state}"
        self.written += data
        if self.stuck:
            self.unsent += len(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.state in {"closing", "aborted"}

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.state = "eof"

    def close(self) -> None:
        if self.state != "aborted":
            self.state = "closing"

    def abort(self) -> None:
        self.state = "aborted"


class BodySource:
    """A body.Source that records what it is asked for."""

    def __init__(self) -> None:
        self.reading = True
        self.abandoned = False

    def pause_body(self) -> None:
        self.reading = False

    def resume_body(self) -> None:
        self.reading = True

    def abandon_body(self) -> None:
        self.abandoned = True
