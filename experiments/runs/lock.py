"""The lock of a run says which process works on it, so that two never work on the same one.

The lock is a file made atomically; its modification time is the heartbeat. It expires, and may be
taken over, as soon as its process is gone, or `STALE_AFTER` seconds after the last heartbeat where
its process is on another machine. Nothing more is asked of a shared file system than that it
creates a file for one of several who try.
"""

import contextlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from experiments.errors import LoopscopeError
from experiments.runs.json_files import named

#: seconds without a heartbeat after which a lock has expired
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


def _clock(folder: Path) -> float:
    """The time by the clock of the file system, which is the one that stamps heartbeats.

    Clocks of machines may differ by more than a heartbeat lasts.
    """
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as file:
        return os.fstat(file.fileno()).st_mtime


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether we alone may take over an expired lock, by a second file made atomically.

    One left by a process that died in between is removed after `STALE_AFTER`.
    """
    guard = path.with_name(f"{path.name}.lock")
    try:
        guard.open("xb").close()
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):
            if _clock(path.parent) - guard.stat().st_mtime > STALE_AFTER:
                guard.unlink()
        yield False
        return
    try:
        yield True
    finally:
        guard.unlink(missing_ok=True)


@dataclass(frozen=True)
class RunLock:
    """Held from `acquire` to `release`; `beat` keeps it alive."""

    path: Path
    text: str

    @staticmethod
    def is_held(path: Path, now: float | None = None) -> bool:
        """Whether a living process holds the lock.

        Args:
            now: by the clock of the file system; None: by ours, which is exact enough to show it.
        """
        try:
            age = (time.time() if now is None else now) - path.stat().st_mtime
            text = path.read_text(encoding="utf-8")
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
        """The lock, or None while another process holds it."""
        owner = {"machine": this_machine(), "pid": os.getpid(), "since": time.time()}
        lock = cls(path, json.dumps(owner))
        if lock._create():
            return lock
        if cls.is_held(path, _clock(path.parent)):
            return None
        with _alone(path) as alone:
            if not alone or cls.is_held(path, _clock(path.parent)):
                return None
            path.unlink(missing_ok=True)
            return lock if lock._create() else None

    @classmethod
    @contextlib.contextmanager
    def hold(cls, path: Path, patience: float = 30.0) -> Iterator[Self]:
        """The lock for something short, waited for where another process holds it.

        Raises:
            LoopscopeError: it is held for more than `patience` seconds.
        """
        until = time.monotonic() + patience
        while (lock := cls.acquire(path)) is None:
            if time.monotonic() > until:
                raise LoopscopeError(
                    f"{path.parent} is in use by another process, see {path.name} there; "
                    "try again when that has ended"
                )
            time.sleep(0.1)
        try:
            yield lock
        finally:
            lock.release()

    def _create(self) -> bool:
        try:
            file = self.path.open("x", encoding="utf-8")
        except FileExistsError:
            return False
        try:
            with named(self.path), file:
                file.write(self.text)
        except OSError:  # an empty lock would be respected
            self.path.unlink(missing_ok=True)
            raise
        return True

    def beat(self) -> bool:
        """Renews the heartbeat; False if the lock was lost to another process."""
        try:
            if self.path.read_text(encoding="utf-8") != self.text:
                return False
            os.utime(self.path)
        except FileNotFoundError:
            return False
        return True

    def release(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.path.read_text(encoding="utf-8") == self.text:
                self.path.unlink()
