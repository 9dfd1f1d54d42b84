"""Groups of labels: "an animal" where a model tells seventy of them apart."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from otic.errors import ParameterError

Groups = Mapping[str, tuple[str, ...]]
"""A group's name to the labels in it. Its score is the greatest of theirs."""


def as_groups(values: Any) -> dict[str, tuple[str, ...]]:
    """Groups out of a table of lists, as JSON and TOML give them.

    Raises
    ------
    ParameterError
        If it is something else.
    """
    if not isinstance(values, dict):
        raise ParameterError(f"groups must be a table of lists, not {type(values).__name__}")
    for name, members in values.items():
        texts = isinstance(members, list) and all(isinstance(m, str) for m in members)
        if not texts:
            raise ParameterError(f"group {name!r} must be a list of labels, not {members!r}")
    return {str(name): tuple(members) for name, members in values.items()}


def check_groups(groups: Groups, model_labels: tuple[str, ...]) -> None:
    """Require groups of labels that the model has, each at most once in a group.

    Raises
    ------
    ParameterError
        Naming the group and the label.
    """
    known = set(model_labels)
    for name, members in groups.items():
        if name in known:
            raise ParameterError(f"group {name!r} has the name of a label: give it another")
        strange = [member for member in members if member not in known]
        if strange:
            near = get_close_matches(strange[0], model_labels, n=1)
            raise ParameterError(
                f"group {name!r} names {strange[0]!r}, which is no label of the model's"
                + (f": did you mean {near[0]!r}?" if near else "")
            )
        if not members or len(set(members)) < len(members):
            raise ParameterError(f"group {name!r} must name at least one label, and each only once")
