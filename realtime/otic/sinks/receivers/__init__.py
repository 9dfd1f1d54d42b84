"""Receivers of notifications: the table of them, a module each.

A module here, and one that an installed package names by an entry point of the group
``otic.receivers``, has

* ``Section``: what can be set, a frozen dataclass of :func:`otic.config.settings.setting`;
* ``open_receiver(section, sensor)``: the receiver, None where the section asks for none;
* ``checks(section)``: what ``otic doctor`` looks at.

Settings and ``--help`` need the sections of all: what a module imports must be light.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from otic.errors import ConfigurationError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

BUILT_IN = ("csv", "sqlite", "command", "webhook", "notify", "mqtt")
_GROUP = "otic.receivers"


def sections(installed: bool = False) -> dict[str, type]:
    """Return the settings of each receiver, by its name.

    Parameters
    ----------
    installed : bool
        Whether to look for other packages' receivers, which takes as long as ``--help``. Once
        they were looked for, they are always given.

    Raises
    ------
    ConfigurationError
        If such a package does not work.
    """
    more = _installed() if installed or _installed.cache_info().currsize else ()
    names = (*BUILT_IN, *more)
    return {name: module(name).Section for name in names}


def module(name: str) -> Any:
    """Return the module of a receiver."""
    if name in BUILT_IN:
        return import_module(f"{__name__}.{name}")
    found = _installed()[name]
    try:
        return found.load()
    except Exception as error:
        raise ConfigurationError(
            f"the receiver '{name}' can't be loaded from '{found.value}' "
            f"({type(error).__name__}: {error}): update the package that brings it, or remove it"
        ) from error


@cache
def _installed() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {each.name: each for each in entry_points(group=_GROUP) if each.name not in BUILT_IN}
