"""What every test file needs, whichever of them run: one thread, one profile of hypothesis."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# the suite runs in parallel, and results must not depend on it
torch.set_num_threads(1)

# no deadline, since the first example pays for what torch loads; always the same examples
settings.register_profile("loopscope", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("loopscope")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests are skipped, with the reason, where there is no CUDA device."""
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(skip)


@pytest.fixture
def work_here() -> Iterator[None]:
    """Grids train in this process, in a test whose matter is not the processes."""
    from workers import working_here

    with working_here():
        yield
