"""Reading settings from flags, the environment and a TOML file, in this order of precedence."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from dataclasses import Field, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from otic.config.settings import FilterSettings, InputSettings, Settings
from otic.config.values import expand_home
from otic.errors import ConfigurationError, did_you_mean

Sections = Callable[[bool], Mapping[str, type]]
_KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_LONGEST_SHOWN = 100  # characters of a value in a message
_MAX_BYTES = 1 << 20  # of a configuration
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class Key:
    """A setting: its place in :class:`Settings`, and its type and range."""

    section: str  # empty at the top level
    field: Field[Any]
    kind: type  # str, int, float, bool or tuple (of str)

    @property
    def dotted(self) -> str:
        """The name in the configuration file: ``mqtt.host``."""
        return f"{self.section}.{self.field.name}".lstrip(".")

    @property
    def variable(self) -> str:
        """The name in the environment: ``OTIC_MQTT_HOST``."""
        return "OTIC_" + self.dotted.replace(".", "_").upper()

    @property
    def flag(self) -> str:
        """The name on the command line: ``--mqtt-host``."""
        return "--" + self.dotted.replace(".", "-").replace("_", "-")

    @property
    def dest(self) -> str:
        """The name in argparse's namespace."""
        return self.dotted.replace(".", "_")

    @property
    def secret(self) -> bool:
        """True if the value comes from the environment only."""
        return bool(self.field.metadata["secret"])

    @property
    def is_path(self) -> bool:
        """True if the value names a file or a folder."""
        name = self.field.name
        return name in ("path", "directory", "model") or name.endswith("_file")

    def from_text(self, text: str) -> Any:
        """Convert the text of a flag or a variable.

        Raises
        ------
        ValueError
            With what the value must be.
        """
        if self.kind is bool:
            if text.lower() not in (*_TRUE, *_FALSE):
                raise ValueError(f"{self._shown(text)} must be true or false")
            return text.lower() in _TRUE
        if self.kind is tuple:
            return self.checked(tuple(word.strip() for word in self._words(text)))
        if self.kind is str:
            return self.checked(text)
        try:
            value = self.kind(text)
        except ValueError:
            what = "a whole number" if self.kind is int else "a number"
            raise ValueError(f"{self._shown(text)} must be {what}") from None
        return self.checked(value)

    def from_toml(self, value: Any) -> Any:
        """Convert a TOML value.

        Raises
        ------
        ValueError
            With what the value must be.
        """
        if self.kind is tuple:
            if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
                raise ValueError(f"{self._shown(value)} must be a list of text")
            return self.checked(tuple(value))
        if self.kind is float and type(value) is int:
            value = float(value) if abs(value) < 2**64 else math.inf
        if type(value) is not self.kind:
            raise ValueError(f"{self._shown(value)} must be {_KINDS[self.kind]}")
        return self.checked(value)

    def checked(self, value: Any) -> Any:
        """Return ``value`` if its key may have it; a path with the home folder in place of ``~``.

        Raises
        ------
        ValueError
            With what the value must be.
        """
        least, most = self.field.metadata["least"], self.field.metadata["most"]
        choices = self.field.metadata["choices"]
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{self._shown(value)} must be a finite number")
        if least is not None and value < least:
            raise ValueError(f"{self._shown(value)} must be at least {least:g}")
        if most is not None and value > most:
            raise ValueError(f"{self._shown(value)} must be at most {most:g}")
        if choices and not set(value if self.kind is tuple else (value,)) <= set(choices):
            many = "some of " if self.kind is tuple else ""
            raise ValueError(f"{self._shown(value)} must be {many}{', '.join(choices)}")
        if isinstance(value, str) and (not value or "\0" in value):
            raise ValueError("must not be empty")
        if isinstance(value, str) and value != value.encode(errors="replace").decode():
            raise ValueError("must be UTF-8 text")
        for text in (value,) if isinstance(value, str) else value if self.kind is tuple else ():
            self.field.metadata["check"](text)
        return expand_home(value) if self.is_path and isinstance(value, str) else value

    def _words(self, text: str) -> list[str]:
        """Split a list that is given as text."""
        if self.field.metadata["choices"]:
            return text.split(",")
        try:
            return list(self.field.metadata["split"](text))
        except ValueError:
            raise ValueError(f"{self._shown(text)} has a quotation mark without its pair") from None

    def _shown(self, value: Any) -> str:
        """Show a value in a message: shortened if it is long, and never one that is hidden."""
        if not self.field.repr:
            return "its value"
        try:
            text = repr(value)
        except ValueError:  # a number of very many digits
            return "its value"
        return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def keys_of(cls: type, section: str = "") -> Iterator[Key]:
    """List the keys of a settings class and of its sections, in order."""
    kinds = get_type_hints(cls)
    for each in fields(cls):
        kind = kinds[each.name]
        if is_dataclass(kind):
            assert isinstance(kind, type)
            yield from keys_of(kind, each.name)
        elif each.name not in ("inputs", "receivers", "filters"):
            plain = next((k for k in get_args(kind) if k in (str, int, float)), kind)
            yield Key(section, each, tuple if get_args(kind)[1:] == (...,) else plain)


def keys(sections: Mapping[str, type]) -> tuple[Key, ...]:
    """List every key: otic's own, then those of the receivers' sections."""
    of_receivers = (key for name, cls in sections.items() for key in keys_of(cls, name))
    return (*keys_of(Settings), *of_receivers)


def add_setting_options(
    parser: argparse.ArgumentParser, already: Set[str], known: Iterable[Key]
) -> None:
    """Add a flag for every known key but those that the parser has ``already``.

    Parameters
    ----------
    parser : ArgumentParser
    already : set of str
        Keys, as :attr:`Key.dotted`.
    known : iterable of Key
    """
    groups: dict[str, Any] = {}
    for key in known:
        if key.dotted in already:
            continue
        if key.secret:  # a flag of its own, so that its value is refused without being repeated
            parser.add_argument(key.flag, type=_refusal(key), help=argparse.SUPPRESS)
            continue
        group = groups.get(key.section)
        if group is None:
            title = key.section or "sensor"
            group = groups[key.section] = parser.add_argument_group(title)
        help_text = key.field.metadata["help"].replace("%", "%%")
        default: Any = key.field.default
        if default not in (None, ()) and key.kind is not bool:
            shown = ",".join(default) if key.kind is tuple else default
            help_text += f" (default {shown})"
        if key.kind is bool:
            action = argparse.BooleanOptionalAction
            group.add_argument(key.flag, dest=key.dest, action=action, default=None, help=help_text)
        else:
            metavar = key.field.metadata["metavar"] or key.field.name.upper()
            group.add_argument(
                key.flag, dest=key.dest, type=_argument(key), metavar=metavar, help=help_text
            )


def _refusal(key: Key) -> Any:
    def refuse(_: str) -> Any:
        raise argparse.ArgumentTypeError(
            f"everybody on this machine can read a command line: set {key.variable}, or name a "
            f"file with {key.flag}-file"
        )

    return refuse


def _argument(key: Key) -> Any:
    def convert(text: str) -> Any:
        try:
            return key.from_text(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def load_settings(
    path: str | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Any] | None = None,
    inputs: tuple[InputSettings, ...] | None = None,
    sections: Sections = lambda _: {},
) -> Settings:
    """Combine settings from a file, the environment and flags; later ones take precedence.

    Parameters
    ----------
    path : str or None
        A TOML file.
    environment : mapping
        ``OTIC_…`` variables. Unknown ones are ignored: another program may use the prefix.
    flags : mapping, optional
        Values by :attr:`Key.dest`; None means not given.
    inputs : tuple of InputSettings, optional
        Replaces the inputs in the file.
    sections : callable
        Returns the receivers' sections, by name: those that come with otic or, called with
        True, those of other packages as well. That is slow, so only unknown names cause it.

    Raises
    ------
    ConfigurationError
        Names the file or the variable, and the key.
    """
    tables = {} if path is None else _read(path)
    known = sections(False)
    if tables.keys() - {key.section or key.field.name for key in keys(known)} - {"inputs"}:
        known = sections(True)
    filters = _filter_tables(path, tables, (*known, "clips"))
    values: dict[str, dict[str, Any]] = {}
    for key in keys(known):
        value = _value(key, path, tables, environment, flags or {})
        if value is not None:
            values.setdefault(key.section, {})[key.field.name] = value
    found = _inputs(path, tables) if inputs is None else inputs
    _refuse_unknown(path, tables, known)
    top = values.pop("", {})
    kinds = get_type_hints(Settings)
    receivers = {name: cls(**values.pop(name, {})) for name, cls in known.items()}
    arguments: dict[str, Any] = {name: kinds[name](**inner) for name, inner in values.items()}
    if found:
        arguments["inputs"] = found
    every = arguments.get("filter", FilterSettings())
    arguments["filters"] = {name: replace(every, **own) for name, own in filters.items()}
    return Settings(**top, **arguments, receivers=receivers)


def _value(
    key: Key,
    path: str | None,
    tables: dict[str, Any],
    environment: Mapping[str, str],
    flags: Mapping[str, Any],
) -> Any:
    if (flag := flags.get(key.dest)) is not None:
        try:
            return expand_home(flag) if key.is_path else flag
        except ValueError as error:
            raise ConfigurationError(f"{key.flag}: {error}") from None
    if environment.get(key.variable):  # compose makes an empty one of ${X} where X is not set
        try:
            return key.from_text(environment[key.variable])
        except ValueError as error:
            shown = "its value is not allowed" if key.secret else str(error)
            raise ConfigurationError(f"{key.variable}: {shown}") from None
    table = tables.get(key.section, {}) if key.section else tables
    if not isinstance(table, dict):
        raise ConfigurationError(f"{path}: {key.section} must be a table: write [{key.section}]")
    if key.field.name not in table:
        return None
    if key.secret:
        raise ConfigurationError(
            f"{path}: {key.dotted} must not be in this file: set {key.variable}, or name a file "
            f"that only otic may read with {key.dotted}_file"
        )
    try:
        return key.from_toml(table[key.field.name])
    except ValueError as error:
        raise ConfigurationError(f"{path}: {key.dotted}: {error}") from None


def _read(path: str) -> dict[str, Any]:
    """Parse a TOML file, with or without a byte order mark."""
    import tomllib  # only 'otic run' and doctor read a file

    try:
        with Path(expand_home(path)).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"can't read '{path}': {reason}") from error
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(
            f"'{path}' is longer than {_MAX_BYTES} bytes: that is no configuration, name another"
        )
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"'{path}' is not UTF-8 text: save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"'{path}' is not TOML: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"'{path}' is not TOML that otic reads: it has a number of thousands of digits, or "
            "brackets within brackets without end"
        ) from error


def _inputs(path: str | None, tables: dict[str, Any]) -> tuple[InputSettings, ...]:
    entries = tables.get("inputs", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigurationError(f"{path}: inputs must be tables: write [[inputs]] before each")
    known = {key.field.name: key for key in keys_of(InputSettings)}
    found = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}: inputs, number {number}"
        values = _table(where, entry, known)
        if len(values.keys() & {"device", "url", "url_file"}) > 1:
            raise ConfigurationError(
                f"{where}: it has more than one of device, url and url_file: leave one"
            )
        found.append(InputSettings(**values))
    return tuple(found)


def _filter_tables(
    path: str | None, tables: dict[str, Any], receivers: Collection[str]
) -> dict[str, dict[str, Any]]:
    """Take the tables ``[filter.NAME]`` out of ``tables``; the values in each, by name."""
    section = tables.get("filter")
    if not isinstance(section, dict):
        return {}
    known = {key.field.name: key for key in keys_of(FilterSettings)}
    own = {name: value for name, value in section.items() if isinstance(value, dict)}
    tables["filter"] = {name: value for name, value in section.items() if name not in own}
    for name in own:
        if name not in receivers:
            raise ConfigurationError(_unknown(path, name, receivers, "filter."))
    return {name: _table(f"{path}: filter.{name}", own[name], known) for name in own}


def _table(where: str, table: dict[str, Any], known: Mapping[str, Key]) -> dict[str, Any]:
    """Read a table that is neither a flag nor a variable."""
    values = {}
    for name, value in table.items():
        if name not in known:
            raise ConfigurationError(_unknown(where, name, known))
        try:
            values[name] = known[name].from_toml(value)
        except ValueError as error:
            raise ConfigurationError(f"{where}: {name}: {error}") from None
    return values


def _refuse_unknown(path: str | None, tables: dict[str, Any], known: Mapping[str, type]) -> None:
    """Refuse unknown keys: one that is mistyped would silently do nothing."""
    sections: dict[str, set[str]] = {"": {"inputs"}}
    for key in keys(known):
        sections.setdefault(key.section, set()).add(key.field.name)
        sections[""].add(key.section or key.field.name)
    for name, value in tables.items():
        if name not in sections[""]:
            raise ConfigurationError(_unknown(path, name, sections[""]))
        if name in sections:
            for inner in value:
                if inner not in sections[name]:
                    raise ConfigurationError(_unknown(path, inner, sections[name], f"{name}."))


def _unknown(where: str | None, name: str, known: Collection[str], section: str = "") -> str:
    near = did_you_mean(name, known)
    return f"{where}: unknown key '{section}{name}'{near}: there are {', '.join(sorted(known))}"
