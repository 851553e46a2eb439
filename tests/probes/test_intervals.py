"""The interval beside every share that a probe reports is Wilson's at 95 %, whatever the probe."""

from statistics import NormalDist

import pytest
from known_models import subject

from generators.multihop import MultiHop
from models.config import LoopedConfig
from models.decoding.cache import CacheSettings
from probes.accuracy import Accuracy
from probes.decoding import Decoding
from probes.dynamics import Dynamics
from probes.exits import Exits
from probes.extrapolation import Extrapolation
from probes.interchange import Interchange
from probes.lens import Lens
from probes.linear import Linear
from probes.pass_at_k import PassAtK
from probes.probe import Probe

TASK = MultiHop(entities=6, relations=8, hops=2, held_out=0.4).bind(1)
#: probe -> its metrics that are shares
PROBES: list[tuple[Probe, set[str]]] = [
    (Accuracy(items=60), {"accuracy"}),
    (Decoding(items=60, cache=CacheSettings()), {"accuracy"}),
    (Extrapolation(items=60, counts=(1, 2)), {"loops_accuracy"}),
    (Exits(items=60, epsilon=(1,), nats=(1,)), {"exit_accuracy", "exit_share"}),
    (Linear(items=60, folds=2), {"probe_accuracy", "probe_control"}),
    (Lens(items=60), {"lens_accuracy", "lens_agreement"}),
    (PassAtK(items=60, samples=4, k=(1,)), {"pass_at_1", "majority_vote"}),
    (Dynamics(items=60, loops=12), {"convergence_share"}),
    (Interchange(items=60), {"follows_donor", "follows_base", "follows_neither"}),
]


def wilson(share: float, n: int) -> tuple[float, float]:
    """The roots of (share - p)² = z² p (1 - p) / n, with the normal quantile of .975."""
    z = NormalDist().inv_cdf(0.975)
    a, b, c = 1 + z**2 / n, -(2 * share + z**2 / n), share**2
    root = max(b * b - 4 * a * c, 0.0) ** 0.5
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


@pytest.mark.parametrize(("probe", "shares"), PROBES, ids=[p.kind for p, _ in PROBES])
def test_intervals_of_shares_are_95_percent(probe: Probe, shares: set[str]) -> None:
    model = LoopedConfig(width=8, heads=1, loops=2).build(len(TASK.vocabulary), gate=False, seed=0)
    rows = [r for r in probe.measure(subject(model, TASK)) if r.metric in shares]
    assert {row.metric for row in rows} == shares
    for row in rows:
        low, high = wilson(row.value, row.n_items)
        assert row.low == pytest.approx(low, abs=1e-9), row
        assert row.high == pytest.approx(high, abs=1e-9), row
