"""Builds the committed pools: `python -m generators.pools.build`, run by hand.

Faker supplies names, cities and companies once, with a seed; its providers drift between
versions and its draws are frequency-weighted, so tasks draw uniformly from the committed files.
Universities and majors are composed and listed here, since Faker has none.
"""

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from generators.pools import FOLDER, MANIFEST

if TYPE_CHECKING:
    from faker import Faker

SEED = 2026
#: entries in each pool
FULL = {"first": 400, "middle": 400, "last": 1000, "city": 200, "company": 263}
SMALL = {"first": 32, "middle": 32, "last": 32, "city": 32, "university": 32, "major": 16}
#: headquarters cities, shared by the companies
HEADQUARTERS = 133
SMALL_HEADQUARTERS, SMALL_COMPANIES_EACH = 8, 4

PLACES = """
Alderbrook, Ashgrove, Bellhaven, Birchfield, Blackwater, Brightmoor, Cedar Hollow, Clearbrook,
Coldspring, Cranmore, Dunhaven, Eastmere, Edgewood, Elmsworth, Fairhollow, Fernwood, Foxbury,
Glenhurst, Graymont, Greenacre, Harborview, Hartsfield, Hazelmere, Highmoor, Hollowell, Ironwood,
Juniper Hill, Kingsmere, Lakehurst, Larkspur, Lindenwald, Longmeadow, Maplecrest, Marshfield,
Millbrook, Mossgate, Northaven, Oakbury, Oldcastle, Pinecrest, Quarry Hill, Ravenswood, Redcliff,
Ridgemont, Riverbend, Rosemoor, Saltmarsh, Silverlake, Stonebridge, Summerfield, Thornbury,
Timberline, Valewood, Waverly Point, Westmoor, Whitestone, Willowdale, Windermoor, Winterhaven,
Yellowstone Bluff
"""
UNIVERSITIES = (
    "{} University",
    "University of {}",
    "{} State University",
    "{} Institute of Technology",
    "{} College of Liberal Arts",
)
MAJORS = """
Accounting, Acoustics, Actuarial Science, Aerospace Engineering, African Studies, Agronomy,
Animal Science, Anthropology, Applied Mathematics, Archaeology, Architecture, Art History,
Asian Studies, Astronomy, Astrophysics, Biochemistry, Bioinformatics, Biology,
Biomedical Engineering, Biophysics, Botany, Business Administration, Cell Biology, Ceramics,
Chemical Engineering, Chemistry, Choreography, Cinema Studies, Civil Engineering, Classics,
Cognitive Science, Communication, Comparative Literature, Computer Engineering, Computer Science,
Creative Writing, Criminology, Cybersecurity, Data Science, Demography, Dietetics, Drama, Ecology,
Economics, Education, Electrical Engineering, English, Entomology, Environmental Science,
Epidemiology, Ethics, European Studies, Fashion Design, Finance, Fine Arts, Forestry, French,
Genetics, Geography, Geology, German, Graphic Design, Health Policy, History, Horticulture,
Hydrology, Immunology, Industrial Design, International Relations, Journalism, Kinesiology, Law,
Library Science, Linguistics, Logistics, Marine Biology, Marketing, Materials Science, Mathematics,
Mechanical Engineering, Medieval Studies, Meteorology, Microbiology, Music, Neuroscience, Nursing,
Oceanography, Optics, Paleontology, Pharmacology, Philosophy, Physics, Political Science,
Psychology, Public Health, Robotics, Sociology, Statistics, Urban Planning, Zoology
"""


def _listed(text: str) -> list[str]:
    return [entry.strip() for entry in text.replace("\n", " ").split(",")]


def _cities(fake: "Faker", n: int) -> list[str]:
    """n different made-up "City, ST"."""
    found: dict[str, None] = {}
    while len(found) < n:
        state = fake.state_abbr(include_territories=False, include_freely_associated_states=False)
        found[f"{fake.city()}, {state}"] = None
    return list(found)


def _companies(fake: "Faker", n: int) -> list[str]:
    """n different lines "Company; City, ST"; a few cities have many headquarters."""
    names: dict[str, None] = {}
    while len(names) < n:
        names[fake.company()] = None
    cities = _cities(fake, HEADQUARTERS)
    weights = [1 / (rank + 1) for rank in range(HEADQUARTERS)]
    others = fake.random.choices(cities, weights, k=n - HEADQUARTERS)
    return [f"{name}; {city}" for name, city in zip(names, cities + others, strict=True)]


def _small_companies(fake: "Faker", companies: list[str]) -> list[str]:
    """As many companies from each of the cities with the most headquarters."""
    city = {line: line.split("; ")[1] for line in companies}
    counts = sorted(Counter(city.values()).items(), key=lambda item: (-item[1], item[0]))
    chosen = []
    for name, _ in counts[:SMALL_HEADQUARTERS]:
        there = [line for line in companies if city[line] == name]
        chosen += fake.random_sample(there, SMALL_COMPANIES_EACH)
    return chosen


def build() -> dict[str, list[str]]:
    """Relative file name -> sorted lines, for both sizes; `small` is a part of `full`."""
    from faker import Faker
    from faker.providers.person.en_US import Provider as Person

    fake = Faker("en_US")
    fake.seed_instance(SEED)
    first, last = sorted(set(Person.first_names)), sorted(set(Person.last_names))
    full = {
        "first": fake.random_sample(first, FULL["first"]),
        "middle": fake.random_sample(first, FULL["middle"]),
        "last": fake.random_sample(last, FULL["last"]),
        "city": _cities(fake, FULL["city"]),
        "company": _companies(fake, FULL["company"]),
        "university": [form.format(place) for place in _listed(PLACES) for form in UNIVERSITIES],
        "major": _listed(MAJORS),
    }
    full = {name: sorted(lines) for name, lines in full.items()}
    small = {name: sorted(fake.random_sample(full[name], n)) for name, n in SMALL.items()}
    small["company"] = sorted(_small_companies(fake, full["company"]))
    return {f"full/{name}.txt": lines for name, lines in full.items()} | {
        f"small/{name}.txt": lines for name, lines in small.items()
    }


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_name(path.name + ".new")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)


def main() -> None:
    """Writes every pool and the manifest, which `sha256sum -c` understands."""
    manifest = []
    for name, lines in sorted(build().items()):
        content = ("\n".join(lines) + "\n").encode()
        _replace(FOLDER / name, content)
        manifest.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    _replace(FOLDER / MANIFEST, "".join(manifest).encode())


if __name__ == "__main__":
    main()
