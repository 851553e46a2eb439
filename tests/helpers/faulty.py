"""Faults at every operation on files: the i-th write of a process is its last, or fails.

Opening for writing, each write, fsync, replace, unlink, mkdir, sendfile and utime below a folder
are counted. A write that is struck has written half of its bytes, as on a disk that fills up.
"""

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

#: what a full disk still allows
FREES = ("unlink", "utime")
#: operations whose errors do not say which file they are about
NAMELESS = ("write", "fsync", "sendfile")


class Faults:
    """What strikes the `at`-th operation on files below `root`.

    Args:
        at: counted from 1; 0: none, operations are only counted.
        error: number of the error; None: the process is killed.
        lasting: whether every later operation fails as well.
    """

    def __init__(
        self, root: Path, at: int = 0, error: int | None = None, *, lasting: bool = False
    ) -> None:
        self.root, self.at, self.error, self.lasting = str(root), at, error, lasting
        self.seen: list[str] = []
        self.struck = False

    def covers(self, file: Any) -> bool:
        return isinstance(file, str | os.PathLike) and os.fspath(file).startswith(self.root)

    def point(self, name: str, file: Any, half: Callable[[], object] = lambda: None) -> None:
        """An operation that is about to be done."""
        if self.error == errno.ENOSPC and name in FREES:
            return
        self.seen.append(f"{name} {Path(os.fspath(file)).name}")
        count = len(self.seen)
        if self.at and (count == self.at or (self.lasting and count > self.at)):
            self.struck = True
            half()
            if self.error is None:
                os.kill(os.getpid(), signal.SIGKILL)
                return
            named = () if name in NAMELESS else (os.fspath(file),)
            raise OSError(self.error, os.strerror(self.error), *named)

    @contextmanager
    def injected(self) -> Iterator["Faults"]:
        with pytest.MonkeyPatch.context() as patch:
            opened = _open(self, io.open)
            patch.setattr(io, "open", opened)
            patch.setattr(builtins, "open", opened)
            for name in ("replace", "unlink", "mkdir", "utime"):
                patch.setattr(os, name, _first_argument(self, name, getattr(os, name)))
            for name in ("fsync", "sendfile"):
                patch.setattr(os, name, _descriptor(self, name, getattr(os, name)))
            yield self


def _first_argument(faults: Faults, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def operation(path: Any, *arguments: Any, **options: Any) -> Any:
        if faults.covers(path):
            faults.point(name, path)
        return real(path, *arguments, **options)

    return operation


def _descriptor(faults: Faults, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def operation(descriptor: Any, *arguments: Any, **options: Any) -> Any:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        path = os.readlink(f"/proc/self/fd/{number}")
        if faults.covers(path):
            faults.point(name, path)
        return real(descriptor, *arguments, **options)

    return operation


def _open(faults: Faults, real: Callable[..., Any]) -> Callable[..., Any]:
    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            content = bytes(data)
            half = content[: len(content) // 2]
            faults.point("write", self.name, lambda: io.FileIO.write(self, half))
            return super().write(content)

    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        writes = faults.covers(file) and set(mode) & set("wax")
        if writes:
            faults.point("open", file)
        if not writes or opener is not None:
            return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = Raw(os.fspath(file), mode.replace("b", "").replace("t", ""))
        whole: Any = io.BufferedWriter(raw)
        return whole if "b" in mode else io.TextIOWrapper(whole, encoding, errors, newline)

    return opened
