"""The committed pools have the sizes, the entropies and the bytes they are said to have."""

import hashlib
import shutil
from collections import Counter
from math import log2
from pathlib import Path

import pytest

from generators.pools import FOLDER, MANIFEST, load_pools, read_lines

FILES = ("first", "middle", "last", "city", "university", "major", "company")
FULL_SIZES = (400, 400, 1000, 200, 300, 100, 263)
SMALL_SIZES = (32, 32, 32, 32, 32, 16, 32)


def lines_of(size: str, name: str) -> list[str]:
    return (FOLDER / size / f"{name}.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("size, sizes", [("full", FULL_SIZES), ("small", SMALL_SIZES)])
def test_files_are_sorted_unique_and_of_the_stated_size(size: str, sizes: tuple[int, ...]) -> None:
    for name, n in zip(FILES, sizes, strict=True):
        lines = lines_of(size, name)
        assert len(lines) == n
        assert lines == sorted(set(lines))
        assert all(line == line.strip() and ":" not in line and line for line in lines)


@pytest.mark.parametrize(
    "size, log2_names, log2_values", [("full", 27.2535, 47.592), ("small", 15.0, 32.392)]
)
def test_entropy_by_counting_the_entries(size: str, log2_names: float, log2_values: float) -> None:
    n = {name: len(lines_of(size, name)) for name in FILES}
    years = 200 if size == "full" else 16
    expected = {
        "birth_date": log2(12 * 28 * years),
        "birth_city": log2(n["city"]),
        "university": log2(n["university"]),
        "major": log2(n["major"]),
        "employer": log2(n["company"]),
        "gender": 1.0,
    }
    pools = load_pools(size)
    assert pools.value_bits == pytest.approx(expected, abs=1e-12)
    assert log2(pools.names) == pytest.approx(log2(n["first"] * n["middle"] * n["last"]))
    assert log2(pools.names) == pytest.approx(log2_names, abs=1e-4)
    assert sum(pools.value_bits.values()) == pytest.approx(log2_values, abs=1e-3)


def test_entropy_of_each_field_of_full() -> None:
    """The values of the literature (2309.14316, appendix A), city of the company left out."""
    known = [16.036, 7.644, 8.229, 6.644, 8.039, 1.0]
    assert list(load_pools("full").value_bits.values()) == pytest.approx(known, abs=1e-3)


def test_a_company_has_one_city_and_cities_are_shared() -> None:
    for size, cities in (("full", 133), ("small", 8)):
        pools = load_pools(size)
        found = dict(line.split("; ") for line in lines_of(size, "company"))
        for company, city in zip(pools.company, pools.company_city, strict=True):
            assert pools.headquarters[city] == found[company]
        assert len(pools.headquarters) == len(set(found.values())) == cities
    assert set(Counter(load_pools("small").company_city).values()) == {4}


def test_small_is_a_part_of_full() -> None:
    for name in FILES:
        assert set(lines_of("small", name)) < set(lines_of("full", name))


def test_manifest_lists_every_file_with_its_sha256() -> None:
    listed = dict(
        reversed(line.split("  ")) for line in (FOLDER / MANIFEST).read_text().splitlines()
    )
    found = {f"{p.parent.name}/{p.name}": p.read_bytes() for p in FOLDER.glob("*/*.txt")}
    assert listed == {name: hashlib.sha256(text).hexdigest() for name, text in found.items()}


def test_a_changed_or_missing_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "pools"
    shutil.copytree(FOLDER, folder)
    assert read_lines("small/major.txt", folder)  # the copy is fine until it is changed
    with open(folder / "small" / "major.txt", "a") as file:
        file.write("Zymurgy\n")
    with pytest.raises(ValueError, match=r"small/major\.txt has changed.*restore"):
        load_pools("small", folder)
    (folder / "small" / "major.txt").unlink()
    with pytest.raises(ValueError, match=r"small/major\.txt is missing.*restore"):
        load_pools("small", folder)


def test_the_build_script_makes_the_committed_files() -> None:
    faker = pytest.importorskip("faker")
    if faker.VERSION != "40.54.0":
        pytest.skip(f"pools were built with Faker 40.54.0, this is {faker.VERSION}")
    from generators.pools.build import build

    built = build()
    assert sorted(built) == sorted(f"{s}/{name}.txt" for s in ("full", "small") for name in FILES)
    for name, lines in built.items():
        assert tuple(lines) == read_lines(name)
