"""Every module can be imported by itself, so that no example in a docstring is passed over."""

from importlib import import_module
from pkgutil import walk_packages

import pytest

EXTRAS = {"ray", "submitit", "tensorboard", "transformers", "wandb"}


@pytest.mark.parametrize("package", ["generators", "models", "probes", "experiments"])
def test_only_an_absent_extra_keeps_a_module_from_being_imported(package: str) -> None:
    found = list(walk_packages(import_module(package).__path__, f"{package}."))
    assert len(found) > 10
    for module in found:
        if module.name.endswith(".__main__"):
            continue
        try:
            import_module(module.name)
        except ModuleNotFoundError as error:
            assert str(error.name).partition(".")[0] in EXTRAS, module.name
