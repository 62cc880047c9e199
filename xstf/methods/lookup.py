"""Which methods there are: found by their place in the folder, or offered by installed packages."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, NamedTuple, NoReturn, TypeAlias

import pandas as pd

from xstf._method import TASKS, Method, Task
from xstf.cubes.words import meant, nearest, unknown

GROUP = "xstf.methods"  # of entry points, in which installed packages offer records
_SHORT: Mapping[str, Task] = {"sharpen": "sharpen_spectral"}


class _Broken(NamedTuple):
    """An offer of an installed package that cannot be used, and why."""

    entry: str
    why: str
    error: Exception | None


class _Offers(NamedTuple):
    """What installed packages offer, by the names of their entry points."""

    records: dict[str, Method]
    broken: dict[str, _Broken]


def read_task(task: object) -> Task:
    """Return a task by its name or its short name; raise naming the tasks."""
    if not isinstance(task, str):
        raise TypeError(f"task must be one of {list(TASKS)}, not a {type(task).__name__}")
    found = next((name for name in TASKS if name == task), _SHORT.get(task))
    if found is None:
        raise ValueError(unknown("task", task, TASKS))
    return found


def _files(task: Task) -> list[str]:
    """Return the files of this package's methods of a task; each is named as its method."""
    package = importlib.import_module(f"xstf.methods.{task}")
    return [m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")]


@cache
def _own(task: Task, file: str) -> Method:
    """Return the record of one of this package's files; loaded alone, for quick first calls."""
    record: Method = importlib.import_module(f"xstf.methods.{task}.{file}").METHOD
    if record.name.replace("-", "_") != file:
        raise ValueError(f"{file}.py holds the record {record.name!r}; they share a name")
    return record


@cache
def _offers() -> _Offers:
    """Return the records that installed packages offer; warn, once, of what cannot be loaded."""
    found = _Offers({}, {})
    for entry in entry_points(group=GROUP):
        label = f"{entry.name} = {entry.value}"
        try:
            record = entry.load()
        except Exception as error:  # whatever another package does must not stop this one
            found.broken[_hyphened(entry.name)] = _Broken(
                label, f"{type(error).__name__}: {error}", error
            )
            continue
        if isinstance(record, Method):
            found.records[label] = record
        else:
            why = f"it is a {type(record).__name__}, not an xstf.Method"
            found.broken[_hyphened(entry.name)] = _Broken(label, why, None)
    for offer in found.broken.values():
        _warn_of(offer.entry, offer.why)
    return found


def _hyphened(name: str) -> str:
    return name.replace("_", "-")


def _warn_of(entry: str, why: str) -> None:
    warnings.warn(
        f"entry point {entry!r} of group {GROUP!r} is left out: {why}; mend or uninstall the "
        "package that offers it",
        stacklevel=2,
    )


@cache
def _records(task: Task) -> dict[str, Method]:
    """Return every record of a task, by name: this package's, then installed packages' offers."""
    found = {record.name: record for record in (_own(task, file) for file in _files(task))}
    for entry, record in _offers().records.items():
        if record.task == task:
            if record.name in found:
                _warn_of(entry, f"it offers {record.name!r}, which exists")
            else:
                found[record.name] = record
    return dict(sorted(found.items()))


def method_names(task: Task) -> list[str]:
    """Return the names of the methods of a task, sorted."""
    return list(_records(task))


def classical_names(task: Task) -> list[str]:
    """Return the names of the methods that run without trained weights, sorted."""
    return [name for name, record in _records(task).items() if record.net is None]


def get_method(task: Task | str, method: str | Method) -> Method:
    """Return the record of a method, by its name, or as it is if it is a record already.

    Parameters
    ----------
    task : {"fuse", "gapfill", "sharpen_spectral", "sts"}
        ``"sharpen"`` is short for the third.
    method : str or Method

    Examples
    --------
    >>> import xstf
    >>> xstf.get_method("fuse", "starfm").pairs
    (1, 2)
    """
    task = read_task(task)
    if isinstance(method, Method):
        if method.task != task:
            raise ValueError(
                f"{method.name!r} is a method of {method.task!r}, it cannot serve {task!r}"
            )
        return method
    if not isinstance(method, str):
        raise TypeError(f"method must be a name or an xstf.Method, not {type(method).__name__}")
    file = method.replace("-", "_")
    if file in _files(task) and _own(task, file).name == method:
        return _own(task, file)
    records = _records(task)
    if method not in records:
        _refuse(task, method)
    return records[method]


def _refuse(task: Task, method: str) -> NoReturn:
    """Raise for a name that no record has: say why its package failed, or which names there are."""
    broken = _offers().broken.get(_hyphened(method))
    if broken is not None:
        kind = TypeError if broken.error is None else ImportError
        raise kind(
            f"method {method!r} is offered by the entry point {broken.entry!r}, which cannot be "
            f"used: {broken.why}; mend or uninstall that package"
        ) from broken.error
    raise ValueError(unknown(f"{task} method", method, method_names(task)))


def unknown_parameters(
    record: Method, given: Collection[str], verb_arguments: Collection[str]
) -> str:
    """Return the message on keywords that neither a method nor its verb has.

    Parameters
    ----------
    record : Method
    given : collection of str
        The unknown ones.
    verb_arguments : collection of str
        The keywords of the verb itself.

    Examples
    --------
    >>> import xstf
    >>> starfm = xstf.get_method("fuse", "starfm")
    >>> print(unknown_parameters(starfm, ["methods"], ["method", "mask"]))
    starfm has no parameter ['methods']; ...; fuse has method, mask; did you mean 'method'?
    """
    own = {f.name: f.default for f in dataclasses.fields(record.params)}
    verb = "fuse" if record.task == "sts" else record.task
    known = [*own, *verb_arguments]
    near = {name: nearest(name, known) for name in sorted(given)}
    if len(near) > 1:
        pairs = [f"{best!r} for {name!r}" for name, best in near.items() if best is not None]
        hint = f"; did you mean {', '.join(pairs)}?" if pairs else ""
    else:
        hint = "".join(meant(name, known) for name in near)
    values = ", ".join(
        name if value is dataclasses.MISSING else f"{name}={value!r}" for name, value in own.items()
    )
    other = f"; {verb} has {', '.join(verb_arguments)}" if verb_arguments else ""
    return (
        f"{record.name} has no parameter {list(near)}; it has {values or 'none of its own'}"
        f"{other}{hint}"
    )


@dataclass(frozen=True)
class Trial:
    """A method with parameters, as an evaluation tries it."""

    label: str
    record: Method
    params: Mapping[str, Any]


Tried: TypeAlias = str | Method | tuple[str | Method, Mapping[str, Any]]


def trials(task: Task, methods: Sequence[Tried] | None) -> list[Trial]:
    """Return what to try: names, records, or such with their parameters, ``(method, {...})``.

    None: all of the task but networks, which need weights. A method that is named twice is told
    apart by its parameters.
    """
    if methods is None:
        methods = classical_names(task)
    pairs = [m if isinstance(m, tuple) else (m, {}) for m in methods]
    wrong = [m for m in pairs if len(m) != 2 or not isinstance(m[1], Mapping)]
    if wrong:
        raise TypeError(f"methods are names, records or (method, {{parameters}}), not {wrong[0]!r}")
    found = [(get_method(task, method), params) for method, params in pairs]
    names = [record.name for record, _ in found]
    tried = []
    for record, params in found:
        label = record.name
        if names.count(label) > 1 and params:
            label += f"({', '.join(f'{k}={v}' for k, v in params.items())})"
        tried.append(Trial(label, record, params))
    return tried


def list_methods(task: Task | str = "fuse") -> pd.DataFrame:
    """Return a table of the methods of a task.

    Parameters
    ----------
    task : {"fuse", "gapfill", "sharpen_spectral", "sts"}
        ``"sharpen"`` is short for the third.

    Returns
    -------
    pandas.DataFrame
        By name: what it does; what it needs (``pairs`` of images, or the fewest ``dates`` and
        whether it can use a ``guide``); its engines; whether it gives a standard deviation, and
        whether it is a network, which needs weights; its source.

    Examples
    --------
    >>> import xstf
    >>> xstf.list_methods("fuse").loc["starfm", "pairs"]
    '1 or 2'
    """
    rows = {}
    task = read_task(task)
    for name in method_names(task):
        record = get_method(task, name)
        rows[name] = {
            "summary": record.summary,
            **_needs(record),
            "engines": ", ".join(record.kernels),
            "std": record.std,
            "network": record.net is not None,
            "reference": record.reference,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _needs(record: Method) -> dict[str, object]:
    if record.task == "fuse":
        return {"pairs": " or ".join(str(n) for n in sorted(set(record.pairs)))}
    if record.task == "gapfill":
        return {"dates": record.fewest, "guide": record.guided, "smooth": record.smooth}
    return {}
