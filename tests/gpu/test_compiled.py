"""Every CUDA source compiles as cupy compiles it: by NVRTC, which knows no headers."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import cuda_in_cpp
import pytest

import xstf
from xstf.numerics.cuda.launch import PROCESSORS, Source, options


def sources():
    """Return all sources: of the modules named cuda, and of numerics.cuda."""
    names = [
        m.name for m in pkgutil.walk_packages(xstf.__path__, "xstf.")
        if m.name.endswith(".cuda") or ".numerics.cuda." in m.name
    ]  # fmt: skip
    modules = [importlib.import_module(name) for name in names]
    return {m.__name__: s for m in modules for s in vars(m).values() if isinstance(s, Source)}


SOURCES = sources()


def test_each_cuda_module_has_a_source():
    """No text with kernels hides in another place."""
    holders = {
        str(p.relative_to(Path(xstf.__file__).parent.parent))
        for p in Path(xstf.__file__).parent.rglob("*.py")
        if "__global__" in p.read_text()
    }
    assert holders == {f"{name.replace('.', '/')}.py" for name in SOURCES}
    assert len({s.name for s in SOURCES.values()}) == len(SOURCES)


def nvrtc():
    """Return the library of the wheel nvidia-cuda-nvrtc, which the extra `test` brings."""
    found = importlib.util.find_spec("nvidia")
    folders = list(found.submodule_search_locations) if found else []
    paths = [p for f in folders for p in Path(f).rglob("libnvrtc.so.*") if "alt" not in p.name]
    assert paths, "the wheel nvidia-cuda-nvrtc is not installed: pip install xstf[test]"
    return ctypes.CDLL(str(paths[0]))


def ptx(source, target):
    """Return the PTX of a source for a target, or raise with the compiler's log."""
    library, program = nvrtc(), ctypes.c_void_p()
    name = f"{source.name}.cu".encode()
    assert library.nvrtcCreateProgram(
        ctypes.byref(program), source.text.encode(), name, 0, None, None
    ) == 0  # fmt: skip
    given = [*options(tuple(sorted(source.sizes.items()))), f"--gpu-architecture=compute_{target}"]
    array = (ctypes.c_char_p * len(given))(*(o.encode() for o in given))
    failed = library.nvrtcCompileProgram(program, len(given), array)
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    assert failed == 0, log.value.decode()
    library.nvrtcGetPTXSize(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    library.nvrtcGetPTX(program, text)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return text.value.decode()


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda s: s.name)
def test_a_source_compiles_for_each_generation(source):
    kernels = cuda_in_cpp.kernels(source.text)
    assert kernels
    for target in PROCESSORS:
        found = ptx(source, target)
        assert f".target sm_{target}" in found
        for name in kernels:
            assert f".entry {name}(" in found


def test_a_source_that_is_wrong_does_not_compile():
    with pytest.raises(AssertionError, match="undefined"):
        ptx(Source("wrong", 'extern "C" __global__ void a(float* out) { out[0] = missing; }'), 80)
