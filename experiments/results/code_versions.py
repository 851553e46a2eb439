"""Runs of one configuration that were computed by different code, which are never pooled.

The id of a run holds the `version` of its task, model and objective. Somebody's own file may change
while its `version` stays; then its hash tells (comments and layout do not count). Runs get a word
for their code only where several codes occur among those that are read together.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from experiments.errors import LoopscopeError
from experiments.results.records import Record
from experiments.runs.record_checks import Code

if TYPE_CHECKING:
    import pandas as pd

BETWEEN = " + "
#: what helps, for a person
REMEDY = (
    "raise `version` in the file, so that its runs have other ids, restore the old file, or remove "
    "the old runs with `loopscope rm`"
)


class Codes:
    """The versions of kinds, and the contents of files, among several runs."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._versions: dict[str, set[int]] = {}
        self._files: dict[str, list[set[str]]] = {}
        for record in records:
            for kind, version in record.versions.items():
                self._versions.setdefault(kind, set()).add(version)
            for code in (record.code, *record.result.get("probe_code", {}).values()):
                self._add(code)

    def _add(self, code: Code) -> None:
        for name, hashes in code.items():
            mine, others = set(filter(None, hashes)), []
            for known in self._files.get(name, []):
                if known & mine:
                    mine |= known
                else:
                    others.append(known)
            self._files[name] = [*others, mine]

    def of(self, record: Record) -> str:
        """What tells the code of a run from that of others; empty where nothing does."""
        kinds = [
            f"{kind} version {version}"
            for kind, version in record.versions.items()
            if len(self._versions[kind]) > 1
        ]
        return BETWEEN.join([*kinds, *self._told(record.code)])

    def of_probe(self, record: Record, identity: str) -> str:
        """As `of`, of the probe with this id, where it comes from a file of its own."""
        return BETWEEN.join(self._told(record.result.get("probe_code", {}).get(identity, {})))

    def _told(self, code: Code) -> Iterator[str]:
        for name, hashes in code.items():
            known = self._files[name]
            if len(known) > 1:
                yield f"{name} {min(next(s for s in known if s & set(hashes)))[:8]}"


def mixed(codes: Iterable[str]) -> dict[str, list[str]]:
    """What there is several codes of -> these, of values of the column `code`."""
    found: dict[str, dict[str, None]] = {}
    for code in codes:
        for part in filter(None, code.split(BETWEEN)):
            found.setdefault(part.rpartition(" ")[0].removesuffix(" version"), {})[part] = None
    return {name: list(parts) for name, parts in found.items() if len(parts) > 1}


def refuse_mixed(rows: "pd.DataFrame", what: str) -> None:
    """Raises LoopscopeError where rows that are to be summarised together are of several codes."""
    codes = rows["code"].unique() if "code" in rows else ()  # rows may be from elsewhere
    for name, parts in mixed(codes).items():
        raise LoopscopeError(
            f"{what}: these runs were computed by {len(parts)} versions of {name}, "
            f"{', '.join(parts)}, and are not pooled; choose with --where 'code={parts[0]}', or "
            f"{REMEDY}"
        )


def mixed_text(runs: "pd.DataFrame") -> list[str]:
    """A sentence for a person about every part that the runs have several codes of."""
    found = []
    for name, parts in mixed(runs["code"].unique()).items():
        count = runs[["run_id", "code"]].drop_duplicates()
        told = ", ".join(f"{p} in {_runs(sum(p in c for c in count['code']))}" for p in parts)
        found.append(f"{name} is there in {len(parts)} versions, which are not pooled: {told}")
    return [f"{text}; {REMEDY}" for text in found]


def _runs(n: int) -> str:
    return f"{n} run{'s' * (n != 1)}"
