"""The weights of a finished run, for other programs."""

from pathlib import Path
from typing import Literal

from experiments.errors import LoopscopeError
from experiments.export.huggingface import export_hf
from experiments.measuring.load import load_trained
from experiments.runs.output import run_folder
from models.conversion.interop import save_ouro, save_tensors
from models.looped import LoopedTransformer


def export_run(
    run: str, file: Path | None, out: Path, format: Literal["safetensors", "ouro", "hf"]
) -> Path:
    """The file that was written, with the model's config in its metadata, or the folder.

    Raises:
        LoopscopeError: no such run, it is not done, its model has no such format, or `file` is
            there and was not made by an export.
    """
    folder = run_folder(run, out)
    if folder.result() is None:
        raise LoopscopeError(f"{folder.path} has no result yet; run its grid first")
    ending = "" if format == "hf" else ".safetensors"
    named = "" if format == "safetensors" else f"-{format}"
    path = file or Path(f"{folder.run_id}{named}{ending}")
    if not path.parent.is_dir():
        raise LoopscopeError(f"{path.parent} is no folder; make it first")
    if path.is_dir() and format != "hf":
        raise LoopscopeError(f"{path} is a folder; FILE needs the name of a file")
    if format != "hf" and path.exists() and not _holds_tensors(path):
        raise LoopscopeError(
            f"{path} exists and is not replaced, since it is no safetensors file; give another name"
        )
    model, task, _ = load_trained(folder, "cpu")
    if not isinstance(model, LoopedTransformer):
        raise LoopscopeError(f"{folder.run_id}: only models of kind looped can be exported")
    try:
        if format == "hf":
            export_hf(model, task.vocabulary, path)
        elif format == "ouro":
            save_ouro(model, path)
        else:
            # tied weights are one tensor, which a safetensors file holds once
            tensors = {name: p.detach().contiguous() for name, p in model.named_parameters()}
            save_tensors(tensors, path, {"loopscope": model.config.model_dump_json()})
    except ValueError as error:
        raise LoopscopeError(f"{folder.run_id}: {error}") from error
    return path


def _holds_tensors(path: Path) -> bool:
    """Whether a file begins as one of safetensors: the length of its header, a mapping in JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    return start[8:] == b"{" and 8 + length <= path.stat().st_size
