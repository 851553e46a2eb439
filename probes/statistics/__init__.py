"""Statistics of runs: intervals, differences, equivalence, power. Sizes in the unit given.

Nothing here draws random numbers but the bootstrap, which is handed its generator.
"""

from probes.statistics.bounded import bounded_summary, p_above, p_below
from probes.statistics.differences import (
    FEWEST_FOR_EQUIVALENCE,
    Difference,
    Equivalence,
    equivalence,
    fisher_test,
    hedges_correction,
    holm,
    paired_difference,
    paired_shares,
    sign_test,
)
from probes.statistics.intervals import (
    Bounds,
    Summary,
    bootstrap_interval,
    summarise,
    wilson_interval,
)
from probes.statistics.power import (
    equivalence_power,
    mcnemar_power,
    paired_power,
    seeds_for_difference,
    seeds_for_equal_shares,
    seeds_for_equivalence,
    seeds_for_mcnemar,
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
    summarise_seeds,
)

__all__ = [
    "CONVERGED_WITHIN",
    "FEWEST_FOR_EQUIVALENCE",
    "SOLVED",
    "Best",
    "Bounds",
    "Difference",
    "Equivalence",
    "Share",
    "Summary",
    "best",
    "bootstrap_interval",
    "bounded_summary",
    "equivalence",
    "equivalence_power",
    "first_step",
    "fisher_test",
    "fraction_solved",
    "has_converged",
    "hedges_correction",
    "holm",
    "mcnemar_power",
    "p_above",
    "p_below",
    "paired_difference",
    "paired_power",
    "paired_shares",
    "seeds_for_difference",
    "seeds_for_equal_shares",
    "seeds_for_equivalence",
    "seeds_for_mcnemar",
    "sign_test",
    "solved",
    "summarise",
    "summarise_seeds",
    "wilson_interval",
]
