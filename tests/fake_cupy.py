"""A module that behaves as cupy where there is no GPU: numpy inside, as strict as cupy outside.

Arrays of the device are no numpy arrays and never become some by themselves; the two do not mix in
one call. What moves between the sides is counted. Kernels run as C++ (`cuda_in_cpp`).
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import types
from collections import Counter

import cuda_in_cpp
import numpy as np


class OutOfMemoryError(MemoryError):
    """As cupy has it."""

    __module__ = "cupy.cuda.memory"


class Log:
    """What happened: bytes that moved, kernels that ran, and how large an array may be."""

    def __init__(self):
        self.reset()

    def reset(self, largest=None):
        self.to_device, self.to_host, self.kernels = 0, 0, Counter()
        self.largest, self.refused, self.freed, self.streams = largest, 0, 0, 0
        self.inside, self.most_inside = 0, 0


LOG = Log()
_GUARD = threading.Lock()


def _move(side, count):
    with _GUARD:
        setattr(LOG, side, getattr(LOG, side) + count)


class Flags:
    def __init__(self, array):
        self.c_contiguous = array.flags.c_contiguous


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):  # noqa: N801  # cupy's name
    """An array of the device."""

    __module__ = "cupy"

    def __init__(self, values):
        assert isinstance(values, np.ndarray)
        self._values = values

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use `.get()`.")

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if set(kwargs) - {"axis", "dtype", "keepdims"}:
            raise TypeError(f"cupy's ufuncs do not take {sorted(kwargs)}")
        if method == "accumulate" and ufunc not in (np.add, np.multiply):
            raise NotImplementedError(f"cupy has no {ufunc.__name__}.accumulate")
        if out is not None:
            kwargs["out"] = tuple(_plain(o) for o in out)
        return _wrapped(getattr(ufunc, method)(*map(_plain, inputs), **kwargs), out)

    def __array_function__(self, function, kinds, args, kwargs):
        if function in (np.asarray, np.asanyarray, np.nditer):
            return NotImplemented
        return _wrapped(function(*_plain(args), **_plain(kwargs)))

    def __getitem__(self, key):
        return _wrapped(np.asarray(self._values[_index(key)]))

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray):
            raise TypeError("cupy takes no numpy arrays as values")
        self._values[_index(key)] = _plain(value)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __len__(self):
        return len(self._values)

    def __bool__(self):
        return bool(self._values)

    def __int__(self):
        return int(self._values)

    def __float__(self):
        return float(self._values)

    def __index__(self):
        return self._values.__index__()

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self._values, name)
        if callable(found):
            return lambda *args, **kw: _wrapped(found(*_plain(args), **_plain(kw)))
        return _wrapped(found)

    @property
    def flags(self):
        return Flags(self._values)

    @property
    def device(self):
        return Device(0)

    def get(self, stream=None, order="C", out=None):
        _move("to_host", self._values.nbytes)
        if out is None:
            return self._values.copy(order)
        out[...] = self._values
        return out

    def set(self, values, stream=None):
        _move("to_device", values.nbytes)
        self._values[...] = values

    def item(self):
        return self._values.item()

    def __dlpack__(self, **kwargs):
        return self._values.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


def _plain(value):
    """Return what is inside of arrays of the device; refuse numpy's."""
    if isinstance(value, ndarray):
        return value._values
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, tuple | list):
        return type(value)(_plain(v) for v in value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def _index(key):
    """Return an index; those of numpy are moved to the device."""
    parts = key if isinstance(key, tuple) else (key,)
    plain = tuple(p._values if isinstance(p, ndarray) else p for p in parts)
    return plain if isinstance(key, tuple) else plain[0]


def _wrapped(value, out=None):
    if out is not None:
        return out[0]
    if isinstance(value, np.ndarray):
        _check_size(value.nbytes if value.base is None else 0)
        return ndarray(value)
    if isinstance(value, np.generic):
        return ndarray(np.asarray(value))
    if isinstance(value, tuple | list):
        return type(value)(_wrapped(v) for v in value)
    return value


def _check_size(count):
    if LOG.largest is not None and count > LOG.largest:
        with _GUARD:
            LOG.refused += 1
        raise OutOfMemoryError(f"Out of memory allocating {count} bytes")


# --- the module -------------------------------------------------------------------------------


def _asarray(values, dtype=None, order=None, *, blocking=False, copy=None):
    if isinstance(values, ndarray):
        return ndarray(np.asarray(values._values, dtype, order=order, copy=copy))
    host = np.asarray(values, dtype, order=order or "C")
    _check_size(host.nbytes)
    _move("to_device", host.nbytes)
    return ndarray(host.copy(order or "C"))


def _array(values, dtype=None, copy=True, order="K"):
    if isinstance(values, ndarray):
        return _wrapped(np.array(values._values, dtype, copy=copy, order=order))
    return _asarray(values, dtype, "C")


def _contiguous(values, dtype=None):
    return ndarray(np.ascontiguousarray(_asarray(values)._values, dtype))


def _asnumpy(values, stream=None, order="C", out=None):
    return values.get(stream, order, out) if isinstance(values, ndarray) else np.asarray(values)


class Device:
    current = threading.local()

    def __init__(self, number=None):
        self.id = getattr(self.current, "id", 0) if number is None else number

    def __enter__(self):
        self.before, self.current.id = getattr(self.current, "id", 0), self.id
        with _GUARD:
            LOG.inside += 1
            LOG.most_inside = max(LOG.most_inside, LOG.inside)
        return self

    def __exit__(self, *error):
        self.current.id = self.before
        with _GUARD:
            LOG.inside -= 1

    def synchronize(self):
        """Everything is done already."""


class Stream:
    def __init__(self, null=False, non_blocking=False, ptds=False):
        LOG.streams += 1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def synchronize(self):
        """Everything is done already."""


class Event:
    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        """Everything is done already."""


class Pool:
    def free_all_blocks(self):
        with _GUARD:
            LOG.freed += 1


class RawModule:
    """CUDA source, compiled as C++."""

    def __init__(self, *, code, options=()):
        self.library = cuda_in_cpp.library(code, tuple(options))

    def get_function(self, name):
        return Kernel(self.library, name)


class Kernel:
    def __init__(self, library, name):
        self.library, self.name, self.max_dynamic_shared_size_bytes = library, name, 48 * 1024

    def __call__(self, blocks, block, args, *, shared_mem=0):
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise ValueError("too much shared memory")
        if any(isinstance(a, np.ndarray | int | float) for a in args):
            raise TypeError("kernels take arrays of the device and numpy's scalars")
        with _GUARD:
            LOG.kernels[self.name] += 1
        plain = [a._values if isinstance(a, ndarray) else np.asarray(a) for a in args]
        cuda_in_cpp.run(self.library, self.name, blocks, block, plain)


def _of_numpy(name):
    """Return a function of numpy's for arrays of the device alone."""
    function = getattr(np, name)
    if not callable(function) or isinstance(function, type):
        return function
    made = {"empty", "zeros", "ones", "full", "arange", "linspace", "eye", "tri"}

    def call(*args, **kwargs):
        if name not in made and not any(_holds(a) for a in (*args, *kwargs.values())):
            raise TypeError(f"cupy.{name} takes arrays of the device")
        return _wrapped(function(*_plain(args), **_plain(kwargs)))

    return call


def _holds(value):
    if isinstance(value, tuple | list):
        return any(map(_holds, value))
    return isinstance(value, ndarray)


class Module(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _of_numpy(name)


def module():
    """Return the module."""
    cupy = Module("cupy")
    cupy.__spec__ = __import__("importlib.machinery").machinery.ModuleSpec("cupy", None)
    cupy.ndarray, cupy.asarray, cupy.array = ndarray, _asarray, _array
    cupy.ascontiguousarray, cupy.asnumpy, cupy.RawModule = _contiguous, _asnumpy, RawModule
    cupy.is_available = lambda: True
    cupy.from_dlpack = lambda other: ndarray(np.from_dlpack(other))
    cupy.get_default_memory_pool = Pool
    cupy.cuda = types.SimpleNamespace(
        Device=Device, Stream=Stream, Event=Event,
        get_elapsed_time=lambda begin, end: 1e3 * (end.at - begin.at),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        runtime=types.SimpleNamespace(getDeviceCount=lambda: 1),
    )  # fmt: skip
    return cupy


def pinned():
    """Return the module cupyx."""
    cupyx = types.ModuleType("cupyx")
    cupyx.empty_pinned = lambda shape, dtype=float, order="C": np.empty(shape, dtype, order)
    return cupyx


@contextlib.contextmanager
def installed():
    """Put the modules in place; give the log."""
    from xstf.numerics.cuda import launch

    before = {name: sys.modules.get(name) for name in ("cupy", "cupyx")}
    sys.modules["cupy"], sys.modules["cupyx"] = module(), pinned()
    launch._function.cache_clear()
    LOG.reset()
    try:
        yield LOG
    finally:
        launch._function.cache_clear()
        for name, found in before.items():
            if found is None:
                del sys.modules[name]
            else:
                sys.modules[name] = found
