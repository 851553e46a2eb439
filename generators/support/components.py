"""The components of a mixture: tasks, each with its share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from generators.biographies import Biographies
from generators.plugins import OpenUnion
from generators.task import Task
from generators.vocabulary import BOS

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class Component(BaseModel):
    """A task in a mixture and its share of the training documents."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    task: Annotated[Task, OpenUnion(Task, "generators", but=("mixture",))] = Field(
        description="its data"
    )
    weight: float = Field(1.0, ge=0, description="in training, beside the weights of the others")
    domain_token: bool = Field(
        False, description="documents begin with <name of the component> in place of <bos>"
    )

    @property
    def begins(self) -> bool:
        """Whether documents begin with a `<bos>`, which a domain token would replace."""
        return BOS in self.task.vocabulary.index


def useful_and_junk() -> dict[str, Component]:
    """The default mixture: one part about a few people, shown often, and seven about many."""
    return {
        "junk": Component(task=Biographies(people=30_000, apart_from=1000), weight=7.0),
        "useful": Component(task=Biographies(people=1000)),
    }
