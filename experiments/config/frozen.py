"""The base of everything that a run's configuration is made of."""

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, data: Any) -> Any:
        """A number of numpy is the one that was written: float32(1e-3) is 1e-3, not 0.00100000005.

        So a grid in Python names the same run as one in a file.
        """
        if not isinstance(data, dict):
            return data
        return {name: _python_number(value) for name, value in data.items()}


def _python_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return float(str(value)) if isinstance(value, np.floating) else value.item()
    if isinstance(value, tuple | list):
        return type(value)(map(_python_number, value))
    return value
