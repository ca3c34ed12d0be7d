"""What a server is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


_COUNTS = (
    *("queue", "max_batch", "max_body", "max_upload", "max_uploads", "max_connections"),
    *("max_facts", "max_words", "max_pixels"),
)


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Where a server listens, and what it takes."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""
    token: str = ""
    """What a client has to send as `Authorization: Bearer TOKEN`; empty asks for none."""
    queue: int = 256
    """Questions accepted and not yet answered; beyond them a request gets 503."""
    max_batch: int = 64
    """Questions answered together."""
    batch_wait_ms: float = 1.0
    """How long a question waits for others to be answered with."""
    max_body: int = MIB
    """Bytes of a request with text."""
    max_upload: int = 16 * MIB
    """Bytes of a request with pictures."""
    max_uploads: int = 16
    """Requests with pictures that are read or answered at a time."""
    max_connections: int = 1000
    """Connections that are open at a time."""
    max_facts: int = 1000
    """Facts of a question."""
    max_words: int = 5000
    """Words of a question and its facts together."""
    max_pictures: int = 8
    """Pictures of a question."""
    max_pixels: int = 25_000_000
    """Pixels of a picture."""
    read_timeout: float = 10
    """Seconds in which a request has to arrive."""
    timeout: float = 30
    """Seconds in which a question has to be answered, and in which a server that is stopped finishes."""

    def __post_init__(self) -> None:
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("read_timeout", "timeout"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a number of seconds above 0")
        for name in ("batch_wait_ms", "max_pictures"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port is {self.port}; it must be from 0 to 65535")
        if not self.token.isascii() or any(c.isspace() for c in self.token):
            raise ValueError("the token has a character that a header cannot carry; take letters, digits and -._~+/=")
