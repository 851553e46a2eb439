"""Statistics of runs: intervals, differences, equivalence, power. Sizes in the unit given.

Nothing here draws random numbers but the bootstrap, which is handed its generator.
"""

from probes.statistics.differences import (
    FEWEST_FOR_EQUIVALENCE,
    Difference,
    Equivalence,
    equivalence,
    fisher_test,
    hedges_correction,
    holm,
    paired_difference,
    sign_test,
)
from probes.statistics.intervals import (
    Summary,
    bootstrap_interval,
    summarise,
    wilson_interval,
)
from probes.statistics.power import (
    equivalence_power,
    paired_power,
    seeds_for_difference,
    seeds_for_equivalence,
)
from probes.statistics.seeds import (
    CONVERGED_WITHIN,
    SOLVED,
    Best,
    Share,
    best,
    first_step,
    fraction_solved,
    has_converged,
    solved,
)

__all__ = [
    "CONVERGED_WITHIN",
    "FEWEST_FOR_EQUIVALENCE",
    "SOLVED",
    "Best",
    "Difference",
    "Equivalence",
    "Share",
    "Summary",
    "best",
    "bootstrap_interval",
    "equivalence",
    "equivalence_power",
    "first_step",
    "fisher_test",
    "fraction_solved",
    "has_converged",
    "hedges_correction",
    "holm",
    "paired_difference",
    "paired_power",
    "seeds_for_difference",
    "seeds_for_equivalence",
    "sign_test",
    "solved",
    "summarise",
    "wilson_interval",
]
