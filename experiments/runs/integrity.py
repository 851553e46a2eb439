"""Whether a run's files are those that were written, and belong together.

A run's id is a hash of its config. Its result says how many lines metrics.jsonl has and holds
checksums of these and of the config; results of before that lack them, and are read all the same.
Nothing here imports a file that a config names: what it says is data.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from experiments.config.run import RUN_ID, RunConfig
from experiments.errors import LoopscopeError
from experiments.runs.folder import RunFolder, as_config
from experiments.runs.json_files import checksum
from experiments.runs.schema_version import read_current
from generators.plugins import STORED

CONFIG, METRICS = "config.json", "metrics.jsonl"
AGAIN = "remove it, and `loopscope run` with its grid makes it again"


def sealing(folder: RunFolder, config: RunConfig) -> dict[str, Any]:
    """What the result of a run says of the files beside it and of the code that it is of.

    A config that was edited while the run was trained is set aside, and the run's own written.

    Args:
        config: that the run was trained with.
    """
    lines = [text for _, text in folder.read_metrics()[0]]
    restore_config(folder, config)
    frozen = read_current(folder.path / CONFIG)
    return {
        "versions": config.versions_under(config.run_id) or {},
        "metric_lines": len(lines),
        "checksums": {CONFIG: checksum(frozen), METRICS: lines_checksum(lines)},
    }


def restore_config(folder: RunFolder, config: RunConfig) -> list[str]:
    """Freezes a run's config where the frozen one is lost, damaged or edited; what was wrong.

    Args:
        config: whose id is the folder's name.
    """
    frozen = read_current(folder.path / CONFIG)
    found = []
    if frozen is not None and not _is_of(frozen, folder):
        found.append(
            folder.set_aside(folder.path / CONFIG, "is that of another run: it was edited")
        )
    return [*found, *folder.freeze(config)]


def _is_of(frozen: dict[str, Any], folder: RunFolder) -> bool:
    try:
        return as_config(frozen, folder.path).run_id == folder.run_id
    except LoopscopeError:
        return False


def lines_checksum(lines: Iterable[str]) -> str:
    """SHA-256 of the lines of metrics.jsonl that have a step."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def config_problem(
    run_id: str, config: dict[str, Any], result: dict[str, Any]
) -> tuple[str, dict[str, int]]:
    """Why a config is not the one that a run is named after, and the versions of its parts.

    The reason is empty where it is, or where that cannot be known: a class from somebody's file is
    not imported to be asked, and a folder with a name of its own says nothing.
    """
    said = result.get("checksums", {}).get(CONFIG)
    if said == checksum(config):
        return "", result.get("versions", {})
    if not re.fullmatch(RUN_ID, run_id):
        return "", {}
    if any(":" in kind for kind in _kinds(config)):
        edited = f"{CONFIG} is not the one that the result was made with: {AGAIN}"
        return ("" if said is None else edited), {}
    try:
        known = _config_of(config)
        versions, found = known.versions_under(run_id), known.run_id
    except Exception as error:  # whatever a validator makes of values that nobody wrote
        return f"{' '.join(str(error).split())[:200]}: if it is damaged, {AGAIN}", {}
    if versions is None:
        return f"{CONFIG} is that of {found}: it was edited or copied; {AGAIN}", {}
    return "", versions


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """A frozen config with every field of today, as a run that is frozen now has them.

    A field that is younger than the config has its default, or what it was before there was a
    field. What names a class from somebody's file, or does not validate, stays as it is.
    """
    if any(":" in kind for kind in _kinds(config)):
        return config
    try:
        known = _config_of(config).canonical().model_dump(mode="json")
    except Exception:  # whatever a validator makes of values that nobody wrote
        return config
    return {**config, **known, "observe": config.get("observe")}


def _config_of(fields: dict[str, Any]) -> RunConfig:
    """The config without what is looked at: that changes no id, and its probes import torch."""
    seed = fields.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise LoopscopeError(f"{CONFIG} has seed {seed!r}")
    rest = {name: value for name, value in fields.items() if name not in ("seed", "observe")}
    return _without_seed(json.dumps(rest)).model_copy(update={"seed": seed})


@lru_cache(maxsize=256)
def _without_seed(text: str) -> RunConfig:
    """The config in JSON, with seed 0: repeats over seeds, which are many, are validated once."""
    return RunConfig.model_validate(json.loads(text), context=STORED)


def _kinds(data: Any) -> Iterator[str]:
    """The kinds named in a config, at any depth."""
    if isinstance(data, dict):
        if isinstance(kind := data.get("kind"), str):
            yield kind
        data = list(data.values())
    if isinstance(data, list):
        for value in data:
            yield from _kinds(value)


def has_own_code(config: dict[str, Any]) -> bool:
    """Whether a part of a config comes from a file that is not of loopscope."""
    parts = (config.get(part) for part in ("task", "model", "objective"))
    return any(":" in kind for part in parts for kind in _kinds(part))


def lines_problem(result: dict[str, Any], lines: list[str], *, whole: bool) -> str:
    """Why the lines of metrics.jsonl are not those of a finished run; empty where they are.

    Args:
        whole: whether no line is damaged.
    """
    wanted = result.get("metric_lines")
    if not result or (wanted is None and whole):
        return ""
    if wanted is None:
        return f"{METRICS} is damaged after {len(lines)} lines"
    if len(lines) != wanted:
        return f"{METRICS} has {len(lines)} whole lines of {wanted}"
    if lines_checksum(lines) != result.get("checksums", {}).get(METRICS):
        return f"{METRICS} is not what was written: it was edited, or the disk has damaged it"
    return ""
