"""What the runs were computed with."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from experiments.text import NumberText, TextTable

COLUMNS = ("processor", "cores", "device", "platform", "python", "torch", "numpy")


def environment_table(environments: Iterable[dict[str, Any]]) -> TextTable | None:
    """A row per environment, with the runs that were computed in it; None where none is known."""
    found = Counter(map(_row, environments))
    if not found:
        return None
    rows = tuple((NumberText(str(n), n), *row) for row, n in found.most_common())
    notes = (
        "Sources: a hash of all code and data files that decide weights, as environment.json of "
        "each run lists them one by one.",
    )
    return TextTable("Environments", ("runs", *COLUMNS, "sources", "commit"), rows, notes)


def _row(environment: dict[str, Any]) -> tuple[str, ...]:
    parts = (environment.get(part) for part in ("machine", "versions"))
    machine, versions = (part if isinstance(part, dict) else {} for part in parts)  # or damaged
    known = {**machine, **versions}
    if machine.get("accelerator"):
        known["device"] = machine["accelerator"]
    text = json.dumps(environment.get("sources", {}), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    commit = str(environment.get("commit") or "not known")
    return (*(str(known.get(name, "–")) for name in COLUMNS), digest, commit)
