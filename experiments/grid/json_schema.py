"""JSON schemas of a grid file and of a run, for editors and other programs."""

from typing import Any

from experiments.config.run import RunConfig
from experiments.grid.expansion import GridFile


def run_schema() -> dict[str, Any]:
    """JSON schema of one run."""
    return RunConfig.model_json_schema()


def grid_schema() -> dict[str, Any]:
    """JSON schema of a grid file, whose baselines hold some of a run's fields."""
    run = run_schema()
    definitions = run.pop("$defs", {})
    baseline = {
        "type": "object",
        "description": "fields of a run, dotted or nested",
        "properties": _optional(run["properties"]),
    }
    schema = GridFile.model_json_schema()
    for block in (schema, schema["$defs"]["Block"]):
        block["properties"]["baseline"] = {"$ref": "#/$defs/Baseline"}
    schema["$defs"] |= {"Baseline": baseline, **_optional(definitions)}
    return schema


def _optional(schema: Any) -> Any:
    """Without `required`: a baseline need not be complete."""
    if isinstance(schema, dict):
        return {
            key: _optional(value)
            for key, value in schema.items()
            if not (key == "required" and isinstance(value, list))
        }
    return [_optional(item) for item in schema] if isinstance(schema, list) else schema
