"""Facts of people as text, worked out from their indices in the world."""

from generators.biographies import Biographies

POOLS = {"birth_city": "city", "employer": "company"}


def fact(task: Biographies, attribute: str, person: int) -> str:
    pools, index = task.values, int(task.world.facts[attribute][person])
    if attribute == "birth_date":
        month_day, year = divmod(index, len(pools.year))
        month, day = divmod(month_day, 28)
        date = [pools.month[month], pools.day[day], pools.year[year]]
        return " ".join([date[i] for i in ((1, 0, 2) if task.reversed_date else range(3))])
    if attribute == "company_city":
        return pools.headquarters[pools.company_city[int(task.world.facts["employer"][person])]]
    return getattr(pools, POOLS.get(attribute, attribute))[index]


def name(task: Biographies, person: int) -> str:
    pools = task.values
    first, middle, last = task.world.names[person]
    return f"{pools.first[first]} {pools.middle[middle]} {pools.last[last]}"
