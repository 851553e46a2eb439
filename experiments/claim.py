"""A claim says which process works on a run, so that two runners never do the same one.

The claim is a file made atomically; its modification time is the heartbeat. It is free again
when its process is gone, or, on another machine, when the heartbeat has stopped.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

#: seconds without a heartbeat after which a claim is void
STALE_AFTER = 60.0


def this_machine() -> str:
    """Host name with its process-id namespace: containers may share the one, never both."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}{namespace}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Orders those who find the same stale claim; some network file systems have no locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Claim:
    """Held from `acquire` to `release`; `beat` keeps it alive."""

    path: Path
    text: str

    @staticmethod
    def is_held(path: Path) -> bool:
        """Whether a living process holds the claim."""
        try:
            age = time.time() - path.stat().st_mtime
            text = path.read_text()
        except FileNotFoundError:
            return False
        if age > STALE_AFTER:
            return False
        try:
            owner = json.loads(text)
            machine, pid = owner["machine"], int(owner["pid"])
        except (ValueError, KeyError, TypeError):
            return True  # being written just now
        return machine != this_machine() or _is_alive(pid)

    @classmethod
    def acquire(cls, path: Path) -> Self | None:
        """The claim, or None while another process holds it."""
        owner = {"machine": this_machine(), "pid": os.getpid(), "since": time.time()}
        claim = cls(path, json.dumps(owner))
        with _locked(path.parent):
            if cls.is_held(path):
                return None
            path.unlink(missing_ok=True)
            try:
                with path.open("x") as file:
                    file.write(claim.text)
            except FileExistsError:
                return None
        return claim

    def beat(self) -> bool:
        """Renews the heartbeat; False if the claim was lost to another process."""
        try:
            if self.path.read_text() != self.text:
                return False
            os.utime(self.path)
        except FileNotFoundError:
            return False
        return True

    def release(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.path.read_text() == self.text:
                self.path.unlink()
