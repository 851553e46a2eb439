"""Checkpoints: tensors and plain types, checked before they replace the one before.

The file is a zip archive whose members carry checksums, so a flipped bit or a missing tail is
found when it is read. The checkpoint before the last is kept until the run is done.
"""

import io
import os
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from experiments.errors import LoopscopeError
from experiments.files import named
from experiments.store import RunFolder
from experiments.versions import current, stamped

#: what a checkpoint holds at least
NEEDED = ("step", "model", "optimiser", "counters")


def _read(path: Path) -> dict[str, Any]:
    """Raises any of many exceptions if the file is damaged."""
    import torch

    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"checksum of {damaged} is wrong")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:  # torch would advise to execute it
        raise ValueError("holds more than tensors and plain data") from error
    state = current(content, path, "checkpoint.pt")
    if missing := [name for name in NEEDED if name not in state]:
        raise ValueError(f"has no {missing[0]}")
    if state.get("run_id", path.parent.name) != path.parent.name:
        raise ValueError(f"is that of {state['run_id']}")
    return state


def save_checkpoint(folder: RunFolder, state: dict[str, Any]) -> None:
    """Writes `state` (tensors and plain types, with `step`) as the run's checkpoint.

    Raises:
        OSError: the disk is full or not writable; the checkpoint before is untouched.
    """
    import torch

    # through memory: torch turns a full disk into an error without its reason
    archive = io.BytesIO()
    torch.save(stamped({**state, "run_id": folder.run_id}), archive)
    temporary = folder.path / f".checkpoint.{os.getpid()}.tmp"
    with named(folder.checkpoint_path):
        try:
            with temporary.open("wb") as file:
                file.write(archive.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            _read(temporary)
            if folder.checkpoint_path.exists():
                os.replace(folder.checkpoint_path, folder.previous_checkpoint_path)
            os.replace(temporary, folder.checkpoint_path)
        finally:
            temporary.unlink(missing_ok=True)


def load_checkpoint(folder: RunFolder) -> tuple[dict[str, Any] | None, list[str]]:
    """The last good checkpoint (None: start anew) and what was found damaged and set aside.

    Raises:
        LoopscopeError: one is of a newer version.
    """
    damaged = []
    for path in (folder.checkpoint_path, folder.previous_checkpoint_path):
        if not path.exists():
            continue
        try:
            return _read(path), damaged
        except LoopscopeError:  # of a newer version: whole, and not ours to touch
            raise
        except Exception as error:  # a damaged archive fails in any of torch's or zipfile's ways
            why = f"is damaged ({type(error).__name__}: {error})".replace("\n", " ")
            damaged.append(folder.set_aside(path, why))
    return None, damaged
