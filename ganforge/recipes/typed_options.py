"""From a table to typed options, and back. Strict: an integer may stand for a float, else nothing.

Everything that a person may have written wrong becomes a Problem at its place. Only a class whose
annotations mean nothing to a recipe, which is its author's mistake, raises (PluginError).
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from ganforge.interfaces.errors import GanforgeError, PluginError
from ganforge.interfaces.manifest import Impossible, Ref
from ganforge.recipes.problems import SET, Problem
from ganforge.recipes.source import Span, written
from ganforge.recipes.suggestions import foreign, nearest
from ganforge.recipes.toml_tables import Entry, Table, item_span, toml_text

# Words of other languages for true and false.
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_BOUNDS = {"above": "above", "at_least": "at least", "below": "below", "at_most": "at most"}
_INTEGER = range(-(2**63), 2**63)
_TOP_LEVEL = ("recipe", "name", "extends")  # plain keys that only the top of a recipe has


@attrs.frozen
class OptionRow:
    """One option as `ganforge show` prints it."""

    name: str
    type_text: str
    default_text: str  # TOML; "unset" for None, "" where it is required
    required: bool
    bounds_text: str
    help: str


class _Misfit(Exception):
    """A value that its type refuses. `what` continues after the option's name."""

    def __init__(self, what: str, label: str = "", note: str = "", *, kind: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.label = label
        self.note = note
        self.kind = kind  # whether the kind of value is wrong, not the value
        self.span: Span | None = None  # where, if not the whole value
        self.below = ""  # the key within the option's table, such as ".horse"


def structure(
    table: Table,
    cls: type,
    *,
    owner: str,
    problems: list[Problem],
    skip: Collection[str] = (),
    provider: str = "",
) -> Any | None:
    """An instance of an options class from a table; None when a problem was added to `problems`.

    owner: what messages start with, such as "loss 'hinge'" or "[train]". skip: keys that are
    somebody else's. provider: a line that says where the component comes from.
    """
    hints = option_types(cls)
    before = len(problems)
    values = {}
    for entry in table:
        if entry.key in hints:
            try:
                values[entry.key] = _Value(entry, cls).fit(hints[entry.key], entry.value)
            except _Misfit as misfit:
                problems.append(_misfit_problem(misfit, entry, cls, owner))
        elif entry.key not in skip:
            problems.append(_unknown(entry, cls, owner, skip, provider))
    for attribute in _fields(cls):
        given = attribute.name in table or attribute.name in skip
        if attribute.default is attrs.NOTHING and not given:
            problems.append(_missing(attribute, table, cls, owner, provider))
    if len(problems) > before:
        return None
    try:
        return cls(**values)
    except (Impossible, GanforgeError, ValueError, TypeError) as error:  # its own validation
        entry_at = table.entry(getattr(error, "key", None) or "")
        span = entry_at.value_span if entry_at else table.span
        problems.append(Problem(f"{owner}: {error}", span))
        return None


def option_rows(cls: type) -> list[OptionRow]:
    """The options of a class in their order, for `ganforge show`."""
    hints = option_types(cls)
    rows = []
    for attribute in _fields(cls):
        required = attribute.default is attrs.NOTHING
        rows.append(
            OptionRow(
                name=attribute.name,
                type_text=_type_text(hints[attribute.name]),
                default_text="" if required else toml_text(_default(attribute)),
                required=required,
                bounds_text=_bounds_text(attribute.metadata.get("bounds", {})),
                help=attribute.metadata.get("help", ""),
            )
        )
    return rows


def unstructure(instance: Any) -> dict[str, Any]:
    """Options as TOML holds them: None left out, tuples as lists, paths with forward slashes."""
    return {
        attribute.name: _plain(getattr(instance, attribute.name))
        for attribute in _fields(type(instance))
        if getattr(instance, attribute.name) is not None
    }


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value if item is not None]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, Path):
        return value.as_posix()
    return str(value) if isinstance(value, str) else value


# --- options classes ------------------------------------------------------------------------------


def _fields(cls: type) -> list[attrs.Attribute[Any]]:
    return [attribute for attribute in attrs.fields(cls) if attribute.init]


def _default(attribute: attrs.Attribute[Any]) -> Any:
    default: Any = attribute.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


@cache
def option_types(cls: type) -> dict[str, Any]:
    """Option -> its type. Raises PluginError for a type that no recipe can hold."""
    try:
        hints = typing.get_type_hints(cls)
    except (NameError, TypeError) as error:
        raise PluginError(
            f"options of {_name(cls)} have a type that is not known: {error}"
        ) from error
    own = {attribute.name: hints.get(attribute.name, Any) for attribute in _fields(cls)}
    for name, hint in own.items():
        if not _holdable(hint):
            raise PluginError(
                f"option '{name}' of {_name(cls)} has the type {hint}: no recipe can hold it"
            )
    return own


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _holdable(hint: Any) -> bool:
    if hint in (Any, int, float, bool, Path, dict, list, None, type(None), Ellipsis):
        return True
    if isinstance(hint, type) and issubclass(hint, str):
        return True
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return True
    if origin in (Union, types.UnionType, list, tuple, dict):
        return all(_holdable(argument) for argument in arguments)
    return False


def type_members(hint: Any) -> tuple[Any, ...]:
    """The types of a union without None; the type itself if it is none."""
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(member for member in get_args(hint) if member is not type(None))
    return (hint,)


# --- one value ------------------------------------------------------------------------------------


@attrs.frozen
class _Value:
    """The value of one option, being fitted to its type."""

    entry: Entry
    cls: type

    @property
    def bounds(self) -> Mapping[str, float]:
        found = getattr(attrs.fields(self.cls), self.entry.key, None)
        return found.metadata.get("bounds", {}) if found is not None else {}

    def fit(self, hint: Any, value: Any) -> Any:
        """The value as this type; raises _Misfit."""
        origin = get_origin(hint)
        if hint is Any:
            return value.plain() if isinstance(value, Table) else value
        if origin in (Union, types.UnionType):
            return self._union(hint, value)
        if origin is Literal:
            return self._choice(hint, value)
        if hint is list or origin in (list, tuple):
            return self._list(hint, value)
        if hint is dict or origin is dict:
            return self._table(hint, value)
        if hint is bool:
            return self._bool(value)
        if hint in (int, float):
            return self._number(hint, value)
        return self._path(value) if hint is Path else self._text(hint, value)

    def _union(self, hint: Any, value: Any) -> Any:
        misfits = {}
        for member in type_members(hint):
            try:
                return self.fit(member, value)
            except _Misfit as misfit:
                misfits[member] = misfit
        # The member of the value's own shape knows best what is wrong with it.
        alike = [misfit for member, misfit in misfits.items() if _same_shape(member, value)]
        if len(misfits) == 1 or (len(alike) == 1 and not alike[0].kind):
            raise (alike or list(misfits.values()))[0]
        label = next((misfit.label for misfit in misfits.values() if misfit.label), "")
        raise self._refused(hint, value, label)

    def _choice(self, hint: Any, value: Any) -> Any:
        choices = get_args(hint)
        for choice in choices:
            if type(choice) is type(value) and choice == value:
                return value
        allowed = ", ".join(map(toml_text, choices))
        close = nearest(str(value), map(str, choices)) if not isinstance(value, Table) else []
        meant = [toml_text(choice) for choice in choices if str(choice) in close[:1]]
        raise _Misfit(
            f"cannot be {_given(value)}",
            f"did you mean {meant[0]}?" if meant else "",
            f"allowed: {allowed}",
            kind=True,
        )

    def _list(self, hint: Any, value: Any) -> Any:
        arguments = get_args(hint)
        fixed = get_origin(hint) is tuple and arguments[-1:] != (Ellipsis,)
        if not isinstance(value, list):
            single = arguments[0] if arguments and not fixed else None
            label = "" if single is None else f"write [{toml_text(_raw(value))}]"
            raise self._refused(hint, value, "" if isinstance(value, Table) else label)
        if fixed and len(value) != len(arguments):
            raise _Misfit(f"must be {_expected(hint)}; this has {len(value)}")
        items = []
        for index, item in enumerate(value):
            item_hint = arguments[index] if fixed else arguments[0] if arguments else Any
            try:
                items.append(self.fit(item_hint, item))
            except _Misfit as misfit:
                misfit.span = item_span(self.entry, index)
                misfit.what = f"item {index + 1} {misfit.what}"
                if misfit.kind:
                    misfit.what = f"must be {_expected(hint)}; item {index + 1} is {_given(item)}"
                misfit.kind = False
                raise
        return tuple(items) if get_origin(hint) is tuple else items

    def _table(self, hint: Any, value: Any) -> Any:
        if isinstance(value, dict):  # inside a list
            return value
        if not isinstance(value, Table):
            raise self._refused(hint, value)
        _, item_hint = get_args(hint) or (str, Any)
        fitted = {}
        for entry in value:
            try:
                fitted[entry.key] = _Value(entry, self.cls).fit(item_hint, entry.value)
            except _Misfit as misfit:
                misfit.span = misfit.span or entry.value_span
                misfit.below = f".{entry.key}{misfit.below}"
                raise
        return fitted

    def _bool(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = str(value).casefold() if isinstance(value, (str, int)) else ""
        truth = _TRUTH.get(word, {"0": False, "1": True}.get(word))
        raise self._refused(bool, value, "" if truth is None else f"write {toml_text(truth)}")

    def _number(self, hint: Any, value: Any) -> int | float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self._refused(hint, value, _unquoted(hint, value))
        if isinstance(value, float) and not math.isfinite(value):
            raise _Misfit(f"must be finite, not {value}")
        if hint is int and isinstance(value, float):
            raise self._refused(int, value, f"write {int(value)}" if value.is_integer() else "")
        if isinstance(value, int) and value not in _INTEGER:
            raise _Misfit("is too large: whole numbers have 64 bits")
        if not _within(value, self.bounds):
            raise _Misfit(f"must be {_bounds_text(self.bounds)}, not {self._given(value)}")
        return float(value) if hint is float else value

    def _text(self, hint: type[str], value: Any) -> str:
        if issubclass(hint, Ref) and not (isinstance(value, str) and value):
            raise self._refused(hint, value)
        if not isinstance(value, str):
            raise self._refused(hint, value, _quoted(value))
        return hint(value)

    def _path(self, value: Any) -> Path:
        if not isinstance(value, str) or not value:
            raise self._refused(Path, value, _quoted(value))
        if not value.isprintable() and any(ord(c) < 32 for c in value):
            inner = written(self.entry.value_span).strip("\"'")
            raise _Misfit(
                "is a path with a control character in it",
                f"write '{inner}' or \"{inner.replace(chr(92), '/')}\"",
                'in "..." a backslash begins an escape: \\t is a tab, \\n a new line',
            )
        try:
            path = Path(value).expanduser()
        except RuntimeError:
            raise _Misfit(
                f"must be a path: there is no home folder {value.split('/')[0]}"
            ) from None
        return self.entry.value_span.source.folder / path

    def _refused(self, hint: Any, value: Any, label: str = "") -> _Misfit:
        return _Misfit(f"must be {_expected(hint)}, not {self._given(value)}", label, kind=True)

    def _given(self, value: Any) -> str:
        """What a value is; numbers as they are written (1e3, not 1000.0)."""
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return (
            written(self.entry.value_span)
            if number and value is self.entry.value
            else _given(value)
        )


def _same_shape(hint: Any, value: Any) -> bool:
    if isinstance(value, list):
        return hint is list or get_origin(hint) in (list, tuple)
    if isinstance(value, Table):
        return hint is dict or get_origin(hint) is dict
    if get_origin(hint) is Literal:
        return any(type(choice) is type(value) for choice in get_args(hint))
    if isinstance(value, str):
        return isinstance(hint, type) and issubclass(hint, (str, Path))
    return hint is bool if isinstance(value, bool) else hint in (int, float)


def _within(value: float, bounds: Mapping[str, float]) -> bool:
    return (
        value > bounds.get("above", -math.inf)
        and value < bounds.get("below", math.inf)
        and value >= bounds.get("at_least", -math.inf)
        and value <= bounds.get("at_most", math.inf)
    )


def _unquoted(hint: Any, value: Any) -> str:
    """The number that a text holds: `write 64, without quotes`."""
    if not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    if not math.isfinite(number) or (hint is int and not number.is_integer()):
        return ""
    return f"write {int(number) if hint is int else value.strip()}, without quotes"


def _quoted(value: Any) -> str:
    scalar = not isinstance(value, (Table, list, dict, str))
    return f'write "{toml_text(value)}"' if scalar else ""


# --- words ----------------------------------------------------------------------------------------


def _raw(value: Any) -> Any:
    return value.plain() if isinstance(value, Table) else value


def _given(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, (Table, dict)):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str) and len(value) > 60:
        return "a long text"
    if isinstance(value, (bool, str, int, float)):
        return toml_text(value)
    return "a date or time"


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
_PLURALS = {int: "whole numbers", float: "numbers", bool: "true or false", Path: "paths"}


def _expected(hint: Any) -> str:
    """A type in words."""
    members = type_members(hint)
    if len(members) > 1:
        return " or ".join(_expected(member) for member in members)
    hint, origin, arguments = members[0], get_origin(members[0]), get_args(members[0])
    if origin is Literal:
        return " or ".join(map(toml_text, arguments))
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        return f"a list of {len(arguments)} {_plural(arguments[0])}"
    if origin in (list, tuple) and arguments:
        return f"a list of {_plural(arguments[0])}"
    if hint is list:
        return "a list"
    if hint is dict or origin is dict:
        return "a table"
    return _WORDS.get(hint) or ("the name of a network" if issubclass(hint, Ref) else "text")


def _plural(hint: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, str):
        return "names of networks" if issubclass(hint, Ref) else "texts"
    return _PLURALS.get(hint) or f"({_expected(hint)})"


def _type_text(hint: Any) -> str:
    """A type as short as `show` needs it."""
    members = type_members(hint)
    if len(members) > 1:
        return " | ".join(_type_text(member) for member in members)
    hint, origin, arguments = members[0], get_origin(members[0]), get_args(members[0])
    if origin is Literal:
        return " | ".join(map(toml_text, arguments))
    if origin in (list, tuple) and arguments:
        fixed = origin is tuple and arguments[-1] is not Ellipsis
        shown = arguments if fixed else arguments[:1]
        inside = ", ".join(_type_text(argument) for argument in shown)
        return f"[{inside}]" if fixed else f"[{inside}, ...]"
    if hint is dict or origin is dict:
        return f"{{ name = {_type_text(arguments[1])} }}" if arguments else "table"
    if hint is list:
        return "list"
    names = {int: "integer", float: "number", bool: "boolean", Path: "path", Any: "anything"}
    return names.get(hint) or ("network" if issubclass(hint, Ref) else "string")


def _bounds_text(bounds: Mapping[str, float]) -> str:
    return " and ".join(
        f"{words} {bounds[key]:g}" for key, words in _BOUNDS.items() if key in bounds
    )


def _misfit_problem(misfit: _Misfit, entry: Entry, cls: type, owner: str) -> Problem:
    attribute = getattr(attrs.fields(cls), entry.key)
    span = misfit.span or entry.value_span
    notes = [misfit.note] if misfit.note else []
    if span.source.name == SET and misfit.label.startswith('write "'):
        key = span.source.text.partition("=")[0]
        notes.append(f"in a shell, quotes need quotes: --set '{key}={misfit.label[6:]}'")
    if help := attribute.metadata.get("help"):
        default = _default(attribute)
        usual = "" if default in (attrs.NOTHING, None) else f" (default {toml_text(default)})"
        notes.append(f"{entry.key}: {help}{usual}")
    name = f"'{entry.key}{misfit.below}'"
    return Problem(f"{owner}: {name} {misfit.what}", span, notes, misfit.label)


def _missing(
    attribute: attrs.Attribute[Any], table: Table, cls: type, owner: str, provider: str
) -> Problem:
    name = attribute.name
    notes = [f"{name}: {help}"] if (help := attribute.metadata.get("help")) else []
    if owner.startswith("dataset"):
        notes.append(f"or give it on the command line: --set data.{name}=...")
    notes += [f"from {provider}"] if provider else []
    label = f"add `{name} = ...`, {_expected(option_types(cls)[name])}"
    return Problem(f"{owner} needs '{name}'", table.span, notes, label)


def _unknown(entry: Entry, cls: type, owner: str, skip: Collection[str], provider: str) -> Problem:
    what = "key" if owner.startswith("[") else "option"
    notes = []
    if entry.key in _TOP_LEVEL:
        notes.append(
            f"in TOML, every line below a [table] belongs to it: move '{entry.key}' to the top of "
            "the file"
        )
    notes.append(_options_note(cls, what))
    reserved = [key for key in skip if key not in option_types(cls)]
    notes += [f"also: {', '.join(sorted(reserved))}"] if reserved else []
    notes += [f"from {provider}"] if provider else []
    label = (
        ""
        if entry.key in _TOP_LEVEL
        else did_you_mean(entry.key, [*option_types(cls), *skip], owner)
    )
    return Problem(f"{owner} has no {what} '{entry.key}'", entry.key_span, notes, label)


def did_you_mean(word: str, candidates: Collection[str], owner: str) -> str:
    """A label that leads to the right name, or nothing."""
    close = nearest(word, candidates, most=2)
    same = word.casefold().replace("-", "_") in close
    first = owner.strip("[]").split()[0] if owner else ""
    answer = None if same else foreign(word, _TABLE_OF.get(first, first))
    if answer and ("." in answer or answer in candidates):
        return f"did you mean '{answer}'?"
    close = close[:1] if same else close
    return f"did you mean {' or '.join(repr(name) for name in close)}?" if close else ""


_TABLE_OF = {
    "generator": "generators",
    "discriminator": "discriminators",
    "loss": "losses",
    "augmentor": "augmentors",
    "hook": "hooks",
    "metric": "metrics",
    "dataset": "data",
}


def _options_note(cls: type, what: str) -> str:
    shown = [
        f"{row.name} (required)" if row.required else f"{row.name} = {row.default_text}"
        for row in option_rows(cls)
    ]
    return f"{what}s: {', '.join(shown)}" if shown else f"it has no {what}s of its own"
