"""Checkpoints: tensors and plain types, checked before they replace the one before.

The file is a zip archive whose members carry checksums, so a flipped bit or a missing tail is
found when it is read. The checkpoint before the last is kept until the run is done. Only the
process that continues the training sets a damaged one aside; reading a run changes nothing.
"""

import io
import os
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from experiments.errors import LoopscopeError
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import replacing
from experiments.runs.schema_version import current, stamped

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
    with replacing(folder.checkpoint_path) as file:
        file.write(archive.getbuffer())
        file.flush()
        os.fsync(file.fileno())
        _read(Path(file.name))
        if folder.checkpoint_path.exists():
            os.replace(folder.checkpoint_path, folder.previous_checkpoint_path)


def load_checkpoint(folder: RunFolder) -> tuple[dict[str, Any] | None, list[str]]:
    """The checkpoint for the one process that continues the run, the holder of its lock.

    Returns:
        The last good checkpoint (None: start anew) and what was found damaged and set aside.

    Raises:
        LoopscopeError: one is of a newer version.
        OSError, MemoryError: a checkpoint could not be read, which does not mean it is damaged.
    """
    damaged = []
    for path in _paths(folder):
        if not path.exists():
            continue
        try:
            return _read(path), damaged
        except (LoopscopeError, PermissionError, MemoryError):
            raise
        except Exception as error:  # a damaged archive fails in any of torch's or zipfile's ways
            damaged.append(folder.set_aside(path, _damage(error)))
    return None, damaged


def read_checkpoint(folder: RunFolder) -> dict[str, Any]:
    """The last checkpoint of a run, for processes that only read; it changes no file.

    Raises:
        LoopscopeError: there is none, it is damaged, or it is of a newer version.
    """
    again = "remove the run's result.json, if there is one, and run its grid again"
    for path in _paths(folder):
        try:
            return _read(path)
        except FileNotFoundError:  # perhaps because the next is being put in its place just now
            continue
        except (LoopscopeError, PermissionError, MemoryError):
            raise
        except Exception as error:
            raise LoopscopeError(
                f"{path} {_damage(error)}; to make it again, {again}, which sets it aside"
            ) from error
    if folder.result() is None:
        raise LoopscopeError(f"{folder.path} has no checkpoint; run its grid")
    raise LoopscopeError(
        f"{folder.path} came without its weights (checkpoint.pt), as results that are shipped or "
        f"shared do; run its grid in a folder of your own, or, where this is one, {again}"
    )


def _paths(folder: RunFolder) -> tuple[Path, Path]:
    return folder.checkpoint_path, folder.previous_checkpoint_path


def _damage(error: Exception) -> str:
    """What is wrong with the file. Raises MemoryError for what torch calls a RuntimeError."""
    if "can't allocate memory" in str(error):
        raise MemoryError(str(error)) from error
    return f"is damaged ({type(error).__name__}: {error})".replace("\n", " ")
