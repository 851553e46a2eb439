"""Pools of names and values for biographies, read from the committed files and checked.

One entry per line, sorted. `full` has the sizes of bioS (Physics of Language Models 3.1,
2309.14316, appendix A); `small` is a part of it, for models whose vocabulary must stay small.
The files are made by `generators.pools.build`.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parent
MANIFEST = "manifest.sha256"

PoolSize = Literal["full", "small"]

MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
DAYS = tuple(str(day) for day in range(1, 29))
YEARS = {"full": range(1900, 2100), "small": range(1960, 1976)}


@dataclass(frozen=True)
class Pools:
    """All values a person may have; every entry is one token.

    Attributes:
        headquarters: different headquarters cities, sorted.
        company_city: for each company, the index of its city in `headquarters`.
    """

    first: tuple[str, ...]
    middle: tuple[str, ...]
    last: tuple[str, ...]
    month: tuple[str, ...]
    day: tuple[str, ...]
    year: tuple[str, ...]
    city: tuple[str, ...]
    university: tuple[str, ...]
    major: tuple[str, ...]
    company: tuple[str, ...]
    headquarters: tuple[str, ...]
    company_city: tuple[int, ...]

    @property
    def names(self) -> int:
        """N0, the number of different full names."""
        return len(self.first) * len(self.middle) * len(self.last)

    @property
    def dates(self) -> int:
        """The number of different birth dates."""
        return len(self.month) * len(self.day) * len(self.year)

    @property
    def value_bits(self) -> dict[str, float]:
        """Entropy of each independent value in bits; a company's city is no independent value."""
        sizes = {
            "birth_date": self.dates,
            "birth_city": len(self.city),
            "university": len(self.university),
            "major": len(self.major),
            "employer": len(self.company),
            "gender": 2,
        }
        return {name: math.log2(size) for name, size in sizes.items()}


def read_lines(name: str, folder: Path = FOLDER) -> tuple[str, ...]:
    """The entries of one pool file such as `full/first.txt`.

    Raises:
        ValueError: the file is missing or its SHA-256 is not the one in the manifest.
    """
    expected = {}
    for line in (folder / MANIFEST).read_text(encoding="utf-8").splitlines():
        digest, listed = line.split(maxsplit=1)
        expected[listed] = digest
    path = folder / name
    if not path.is_file():
        raise ValueError(f"the pool file {path} is missing; restore the committed file")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != expected.get(name):
        raise ValueError(
            f"the pool file {path} has changed: its SHA-256 is {found}, {MANIFEST} says "
            f"{expected.get(name)}; restore the committed file"
        )
    return tuple(content.decode("utf-8").splitlines())


@cache
def load_pools(size: PoolSize, folder: Path = FOLDER) -> Pools:
    """The pools of one size.

    Raises:
        ValueError: a file is missing or differs from the committed one.
    """

    def lines(pool: str) -> tuple[str, ...]:
        return read_lines(f"{size}/{pool}.txt", folder)

    companies = [line.split("; ") for line in lines("company")]
    headquarters = tuple(sorted({city for _, city in companies}))
    return Pools(
        first=lines("first"),
        middle=lines("middle"),
        last=lines("last"),
        month=MONTHS,
        day=DAYS,
        year=tuple(str(year) for year in YEARS[size]),
        city=lines("city"),
        university=lines("university"),
        major=lines("major"),
        company=tuple(name for name, _ in companies),
        headquarters=headquarters,
        company_city=tuple(headquarters.index(city) for _, city in companies),
    )
