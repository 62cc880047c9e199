"""Checkpoints: what is written comes back bit for bit, and every fault is named in one line."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
safetensors_torch = pytest.importorskip("safetensors.torch", reason="needs safetensors")

from xstf import weights  # noqa: E402
from xstf.weights import Manifest, fill, load, load_state, save, save_state, to_bytes  # noqa: E402

MARK, STATE = "xstf checkpoint 1", "xstf training state 2"


def manifest(**changed) -> Manifest:
    fields = {
        "method": "ctstfm", "task": "fuse", "bands": ("red", "nir"), "sizes": {"width": 8},
        "low": (0.0, 0.01), "high": (0.3, 0.6), "base": "delta", "ratio": 16.0, "patch": 64,
        "extra": {"log": [1, 2.5]}, "sensors": "Landsat, MODIS", "data": "scenes",
        "licence": "CC0-1.0", "scores": {"rmse": 0.0123}, "version": "0.1.0",
    }  # fmt: skip
    return Manifest(**{**fields, **changed})


def network(width: int = 4):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, width, 3), torch.nn.BatchNorm2d(width), torch.nn.Conv2d(width, 2, 1)
    )


@pytest.fixture
def path(tmp_path) -> Path:
    return save(tmp_path / "net.safetensors", network().state_dict(), manifest())


def fault(source, reader=load) -> str:
    """Return the message of the ValueError that a source gives: one line, not too long."""
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as caught:
        reader(source)
    message = str(caught.value)
    assert type(caught.value) is ValueError
    assert len(message) < 400 + len(str(source if isinstance(source, Path) else ""))
    assert not re.search("weights_only|unsafe|trust", message, re.IGNORECASE)
    return message


def fault_of(data: bytes, tmp_path: Path) -> str:
    """Return the message for a file of these bytes; as bytes they give the same one."""
    file = tmp_path / "given.safetensors"
    file.write_bytes(data)
    message = fault(file)
    assert message.startswith(f"{file} ({len(data)} bytes, sha256 ")
    start, meaning = message.split(": ", 1)
    # What safetensors itself finds first changes from call to call: only our words are compared.
    assert fault(data).startswith(start.replace(str(file), "<bytes>") + f": {meaning[:11]}")
    return meaning


def raw(header: dict | bytes, data: bytes = b"") -> bytes:
    """Return a safetensors file by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def metadata(**changed) -> dict:
    return {"__metadata__": {"format": MARK, "manifest": "{}", "sha256": "0", **changed}}


def signed(text: str, tensors=None, mark=MARK) -> bytes:
    """Return a file whose digest is right, whatever its text is."""
    return weights.checkpoint._pack(tensors or {"a": torch.ones(2)}, mark, text)


# --- there and back -------------------------------------------------------------------------------


def test_everything_comes_back_bit_for_bit(tmp_path):
    generator = torch.Generator().manual_seed(1)
    tensors = {
        "double": torch.randn(3, 2, generator=generator, dtype=torch.float64),
        "single": torch.randn(2, 3, 4, generator=generator),
        "tiny": torch.tensor([1e-45, -0.0, 3.4e38]),
        "half": torch.randn(5, generator=generator).half(),
        "brain": torch.randn(2, 2, generator=generator).bfloat16(),
        "eight": torch.randn(4, generator=generator).to(torch.float8_e4m3fn),
        "count": torch.tensor(2**62 + 1),
        "bytes": torch.arange(256, dtype=torch.uint8),
        "flags": torch.tensor([True, False, True]),
        "scalar": torch.tensor(0.1),
        "empty": torch.zeros(0, 3),
    }
    found = load(save(tmp_path / "a.safetensors", tensors, manifest()))
    assert found.manifest == manifest()
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        back = found.tensors[name]
        assert back.dtype == tensor.dtype
        assert back.shape == tensor.shape
        assert torch.equal(back.reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))


def test_tensors_that_share_memory_or_lie_across_it_are_stored(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {"whole": whole, "same": whole, "across": whole.T, "part": whole[1:, ::2]}
    found = load(save(tmp_path / "a.safetensors", tensors, manifest())).tensors
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_loaded_tensors_are_the_callers_own(path):
    first = load(path).tensors
    first["0.weight"].zero_()
    assert load(path).tensors["0.weight"].abs().sum() > 0


def test_bytes_are_the_file(path):
    assert path.read_bytes() == to_bytes(network().state_dict(), manifest())
    assert load(path.read_bytes()).manifest == load(str(path)).manifest == manifest()


def test_the_same_content_is_the_same_file_whatever_its_order():
    """The writer of safetensors orders metadata anew at every call."""
    tensors = {"b": torch.zeros(2), "a": torch.ones(3)}
    turned = dict(reversed(tensors.items()))
    assert len({to_bytes(t, manifest()) for t in [tensors, turned] * 10}) == 1


def test_safetensors_itself_reads_the_file(path):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        stored = file.metadata()
    assert stored["format"] == MARK
    assert json.loads(stored["manifest"])["bands"] == ["red", "nir"]
    assert re.fullmatch("[0-9a-f]{64}", stored["sha256"])
    assert safetensors_torch.load_file(path).keys() == network().state_dict().keys()


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "net.safetensors"
    link.symlink_to(tmp_path / "far" / "net.safetensors")
    save(link, network().state_dict(), manifest())
    assert link.is_symlink()
    assert load(link).manifest == manifest()


def test_import_loads_no_torch():
    code = (
        "import sys, xstf.weights; print([m for m in ('torch', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_torch_the_extra_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for call in (
        lambda: load(path),
        lambda: load_state(path),
        lambda: save(path, {}, manifest()),
        lambda: save_state(path, {}, {}),
    ):
        with pytest.raises(ImportError, match=r"install xstf\[torch\]"):
            call()


# --- what is no checkpoint ------------------------------------------------------------------------


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.safetensors"):
        load(tmp_path / "none.safetensors")


def test_files_of_other_kinds_are_named(tmp_path):
    kinds = {
        b"<!DOCTYPE html><html>404</html>": "it is a web page",
        b"\n  <html></html>": "it is a web page",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n": "Git LFS pointer",
        b"\x89HDF\r\n\x1a\n" + bytes(50): "HDF5",
        b"\x1f\x8b\x08" + bytes(50): "gzip",
        b"II*\0" + bytes(100): "claims .* bytes|not that of a safetensors",
        np.random.default_rng(0).bytes(500): "claims .* bytes: it is no safetensors file",
        b"": "it is empty",
        b"12345": "cut short",
    }
    for data, meaning in kinds.items():
        assert re.search(meaning, fault_of(data, tmp_path)), data[:20]


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def bombs(marker: Path) -> dict[str, bytes]:
    """Return files that run code when they are unpickled, in every form that torch knows."""
    found = {f"pickle {n}": pickle.dumps(Bomb(marker), protocol=n) for n in range(6)}
    for name, is_zip in (("torch zip", True), ("torch legacy", False)):
        buffer = io.BytesIO()
        torch.save({"a": Bomb(marker)}, buffer, _use_new_zipfile_serialization=is_zip)
        found[name] = buffer.getvalue()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(marker)))
    found["zip"] = buffer.getvalue()
    return found


def test_a_pickle_is_refused_and_its_code_not_run(tmp_path):
    marker = tmp_path / "executed"
    for name, data in bombs(marker).items():
        message = fault_of(data, tmp_path)
        if name not in ("pickle 0", "pickle 1"):  # those begin like any text
            assert re.search("which may hold code: only safetensors are read", message), name
        file = tmp_path / "state.safetensors"
        file.write_bytes(data)
        assert "no training state" in fault(file, load_state)
        assert not marker.exists(), name
    pickle.loads(bombs(marker)["pickle 2"])
    assert marker.exists()  # the payloads do work


def test_a_file_that_is_cut_short(path, tmp_path):
    data = path.read_bytes()
    header = int.from_bytes(data[:8], "little")
    lengths = {0, 1, 5, 7, 8, 9, 8 + header // 2, 7 + header, 8 + header, len(data) // 2}
    for length in sorted(lengths | {len(data) - 1}):
        message = fault_of(data[:length], tmp_path)
        assert re.search("empty|cut short|damaged|metadata", message), (length, message)
    assert "cut short" in fault_of(data[: 8 + header // 2], tmp_path)
    assert "damaged" in fault_of(data + b"\0", tmp_path)


def test_every_flipped_bit_is_found():
    """Of a small file, one bit of every byte; in weights nothing else would notice it."""
    data = to_bytes({"a": torch.arange(4.0), "b": torch.tensor(3)}, manifest())
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        fault(bytes(damaged))


def test_a_changed_weight_or_manifest_is_named_as_such(path, tmp_path):
    data = path.read_bytes()
    assert "SHA-256" in fault_of(data[:-1] + bytes([data[-1] ^ 1]), tmp_path)
    assert "SHA-256" in fault_of(data.replace(b"CC0-1.0", b"CC0-1.1"), tmp_path)
    assert "SHA-256" in fault_of(data.replace(b'"0.bias"', b'"9.bias"'), tmp_path)


def test_headers_that_lie(tmp_path):
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for header, data in [
        ({"a": {**one, "shape": [3]}}, bytes(8)),
        ({"a": {**one, "shape": [2**40, 2**40]}}, bytes(8)),
        ({"a": {**one, "shape": [-2]}}, bytes(8)),
        ({"a": {**one, "dtype": "F7"}}, bytes(8)),
        ({"a": {**one, "dtype": "F8_E8M0", "shape": [8]}}, bytes(8)),
        ({"a": {**one, "data_offsets": [0, 2**50]}}, bytes(8)),
        ({"a": {**one, "data_offsets": [8, 0]}}, bytes(8)),
        ({"a": one, "b": one}, bytes(8)),
        ({"a": one, "b": {**one, "data_offsets": [4, 12]}}, bytes(12)),
        ({"a": one}, bytes(9)),
        ({"a": one, "b": 3}, bytes(8)),
    ]:
        message = fault_of(raw({**metadata(), **header}, data), tmp_path)
        assert message.startswith("it is damaged"), (header, message)


def test_headers_that_are_none(tmp_path):
    assert "claims 1152921504606846976 bytes" in fault_of(
        (2**60).to_bytes(8, "little") + b"{}" + bytes(20), tmp_path
    )
    for header in (b"[]", b"{" * 10, b"[" * 100_000, b"\xff\xfe{}", b""):
        assert "not that of a safetensors file" in fault_of(raw(header, bytes(4)), tmp_path)


def test_metadata_that_are_not_ours(tmp_path):
    plain = safetensors_torch.save({"a": torch.ones(2)})
    assert "without metadata" in fault_of(plain, tmp_path)
    assert "without metadata" in fault_of(raw({"__metadata__": [1]}), tmp_path)
    for mark in ("pt", "xstf checkpoint 2", STATE, "x" * 1000, "two\nlines"):
        assert f"not '{MARK}'" in fault_of(signed("{}", mark=mark), tmp_path)
    foreign = safetensors_torch.save({"a": torch.ones(2)}, metadata={"format": MARK})
    assert "SHA-256" in fault_of(foreign, tmp_path)
    assert "damaged" in fault_of(raw(metadata(manifest=3)), tmp_path)


def test_manifests_that_are_none(tmp_path):
    whole = json.loads(json.dumps(manifest().__dict__))
    for text, meaning in {
        "not json": "Expecting value",
        "[1]": "no table of fields",
        "[" * 200_000: "nested too deeply",
        "{}": r"lacks \['bands', 'base'",
        json.dumps({**whole, "more": 1}): r"has \['more'\] besides",
        json.dumps({**whole, "low": ["a", "b"]}): "low must be a number",
        json.dumps({**whole, "high": [0.3, float("nan")]}): "high must be finite",
        json.dumps({**whole, "bands": "ab"}): "bands must be a tuple of text",
    }.items():
        assert re.search(meaning, fault_of(signed(text), tmp_path))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_neither_written_nor_read(number, tmp_path):
    tensors = {"good": torch.ones(3), "bad": torch.tensor([1.0, number])}
    with pytest.raises(ValueError, match=r"1 weights hold NaN or infinity \(bad\)"):
        save(tmp_path / "a.safetensors", tensors, manifest())
    assert not any(tmp_path.iterdir())
    text = json.dumps(manifest().__dict__)
    assert r"NaN or infinity (bad)" in fault_of(signed(text, tensors), tmp_path)


# --- writing --------------------------------------------------------------------------------------


def test_only_one_ending_is_written(tmp_path):
    for name in ("net.pt", "net", "net.safetensors.bak"):
        with pytest.raises(ValueError, match=f"{name}: the name must end in .safetensors"):
            save(tmp_path / name, {}, manifest())
        with pytest.raises(ValueError, match="must end in .safetensors"):
            save_state(tmp_path / name, {}, {})


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "dir.safetensors").mkdir()
    for path in ("none/a.safetensors", "file/a.safetensors", "dir.safetensors"):
        with pytest.raises(OSError, match=rf"{path} cannot be written: \w+"):
            save(tmp_path / path, {"a": torch.ones(1)}, manifest())
    assert {p.name for p in tmp_path.iterdir()} == {"file", "dir.safetensors"}


@pytest.mark.parametrize("fails", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_old_file(fails, error, path, monkeypatch):
    before = path.read_bytes()

    def fail(*args):
        raise error

    monkeypatch.setattr(os, fails, fail)
    with pytest.raises(type(error)):
        save(path, {"other": torch.ones(1000)}, manifest())
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


@pytest.mark.slow
def test_a_kill_while_writing_leaves_the_old_file(path):
    """The process dies before the move: nothing is cleaned up, and the old file is whole."""
    before = path.read_bytes()
    code = (
        "import os, sys, torch\n"
        "from xstf.weights import save_state\n"
        "os.fsync = lambda number: os._exit(9)\n"
        "save_state(sys.argv[1], {'a': torch.ones(1000)}, {})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == 9
    assert path.read_bytes() == before
    assert len(list(path.parent.glob("*.part"))) == len(list(path.parent.glob(".*.part"))) == 1


def test_what_is_no_weight_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(TypeError, match="weights are tensors by name, not int 'a'"):
        save(path, {"a": 1}, manifest())
    with pytest.raises(TypeError, match="weights are tensors by name, not Tensor 3"):
        save(path, {3: torch.ones(1)}, manifest())
    with pytest.raises(ValueError, match="cannot hold all of .'torch.complex128'"):
        save(path, {"a": torch.ones(1, dtype=torch.complex128)}, manifest())


# --- the manifest ---------------------------------------------------------------------------------


def test_a_manifest_equals_itself_after_loading(tmp_path):
    """Tuples become lists in `sizes` and `extra` at once, numpy's numbers plain ones."""
    given = manifest(
        sizes={"widths": (1, 2), "deep": {"a": (3,)}}, bands=["a", "b"], ratio=16,
        low=[np.float32(0.5), 0], high=(np.float64(1), 2), scores={"r": np.float32(0.5)},
    )  # fmt: skip
    assert given.sizes == {"widths": [1, 2], "deep": {"a": [3]}}
    assert (given.bands, given.low, given.scores) == (("a", "b"), (0.5, 0.0), {"r": 0.5})
    found = load(save(tmp_path / "a.safetensors", {"a": torch.ones(1)}, given)).manifest
    assert found == given
    assert replace(found, patch=32).patch == 32


@pytest.mark.parametrize(
    ("changed", "error", "meaning"),
    [
        ({"method": ""}, ValueError, "method is empty"),
        ({"task": None}, TypeError, "task must be text, not NoneType"),
        ({"licence": 3}, TypeError, "licence must be text, not int"),
        ({"bands": "red"}, TypeError, "bands must be a tuple of text, not str"),
        ({"bands": ()}, ValueError, "bands must be one or more different labels"),
        ({"bands": ("a", "a")}, ValueError, "bands must be one or more different labels"),
        ({"bands": ("a", 2)}, TypeError, "bands must be text, not int"),
        ({"low": (0.0,)}, ValueError, "low has 1 values for 2 bands"),
        ({"high": 1.0}, TypeError, "high must be a tuple of numbers, not float"),
        ({"high": (0.3, np.inf)}, ValueError, "high must be finite, not inf"),
        ({"high": (0.3, "1")}, TypeError, "high must be a number, not str"),
        ({"high": (0.3, 0.01)}, ValueError, "band 'nir' is scaled from 0.01 to 0.01"),
        ({"ratio": 0}, ValueError, "ratio must be above 0, not 0"),
        ({"ratio": True}, TypeError, "ratio must be a number, not bool"),
        ({"patch": 0}, ValueError, "patch must be 1 or more, not 0"),
        ({"patch": 64.0}, TypeError, "patch must be an int, not float"),
        ({"sizes": [1]}, TypeError, "sizes must be a dict, not list"),
        ({"sizes": {1: 2}}, TypeError, "keys of sizes must be text"),
        ({"sizes": {"a": {1, 2}}}, TypeError, "sizes: .*set is not JSON serializable"),
        ({"extra": {"a": np.nan}}, ValueError, "extra: Out of range"),
        ({"scores": {"rmse": np.nan}}, ValueError, "score 'rmse' must be finite, not nan"),
        ({"scores": {"rmse": "good"}}, TypeError, "score 'rmse' must be a number, not str"),
    ],
)
def test_a_manifest_checks_its_fields(changed, error, meaning):
    with pytest.raises(error, match=meaning):
        manifest(**changed)


# --- use ------------------------------------------------------------------------------------------


def test_fill_gives_a_network_the_weights(path):
    other = network()
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    fill(other, load(path))
    for name, tensor in network().state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)


def test_fill_refuses_another_architecture(path):
    """One short line, and the network is as it was."""
    checkpoint = load(path)
    wider = network(width=6)
    before = {name: tensor.clone() for name, tensor in wider.state_dict().items()}
    with pytest.raises(ValueError, match=r"7 of another shape \(0.bias, 0.weight, 1.bias, …\)"):
        fill(wider, checkpoint)
    assert all(torch.equal(before[n], t) for n, t in wider.state_dict().items())
    with pytest.raises(ValueError, match=r"of 2 weights: 7 unexpected \(0.bias, 0.weight") as one:
        fill(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity(), wider[2]), checkpoint)
    assert "1 of another shape (2.weight)" in str(one.value)
    with pytest.raises(ValueError, match=r"2 missing \(3.bias, 3.weight\); build it with"):
        fill(network().append(torch.nn.Linear(1, 1)), checkpoint)


def test_describe_says_what_is_inside(path):
    text = weights.describe(path)
    for words in (
        str(path), "ctstfm (fuse), xstf 0.1.0", "red 0 to 0.3, nir 0.01 to 0.6", "width 8",
        "Landsat, MODIS", "CC0-1.0", "rmse 0.0123", "log [1, 2.5]", "64 pixels",
        "103 in 9 tensors", f"{path.stat().st_size:,} bytes",
    ):  # fmt: skip
        assert words in text
    assert len({line[:11] for line in text.splitlines()[1:]}) == len(text.splitlines()) - 1


def test_bundled_checkpoints_are_found_by_name(path, monkeypatch):
    assert all(weights.find(name).exists() for name in weights.bundled())
    monkeypatch.setattr(weights.checkpoint, "_BUNDLED", path.parent)
    assert weights.bundled() == ["net"]
    assert weights.find("net") == path
    assert weights.find("none") is None
    assert weights.find("../" + path.parent.name + "/net") is None
    monkeypatch.setattr(weights.checkpoint, "_BUNDLED", path.parent / "absent")
    assert weights.bundled() == []
    assert weights.find("net") is None


# --- states of training ---------------------------------------------------------------------------


def test_a_training_state_round_trips(tmp_path):
    tensors = {
        "moment": torch.tensor([1.0, np.nan, np.inf]), "step": torch.tensor(7),
        "random": torch.get_rng_state(), "ema": torch.ones(2, 2, dtype=torch.bfloat16),
    }  # fmt: skip
    notes = {"epoch": 3, "best": float("inf"), "history": [[0.5, 0.25]], "name": "ü"}
    path = save_state(tmp_path / "state.safetensors", tensors, notes)
    found, back = load_state(path)
    assert back == notes
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, equal_nan=True)


def test_a_training_state_without_tensors(tmp_path):
    assert load_state(save_state(tmp_path / "a.safetensors", {}, {"epoch": 0})) == (
        {},
        {"epoch": 0},
    )


def test_a_training_state_is_no_checkpoint_nor_the_other_way_round(path, tmp_path):
    assert f"its format is '{MARK}', not '{STATE}'" in fault(path, load_state)
    state = save_state(tmp_path / "state.safetensors", {"a": torch.ones(1)}, {})
    assert f"its format is '{STATE}', not '{MARK}'" in fault(state)


def test_faults_of_a_training_state_are_named(tmp_path):
    path = save_state(tmp_path / "state.safetensors", {"a": torch.ones(4)}, {"epoch": 3})
    data = path.read_bytes()
    for damaged in (b"", data[:5], data[: len(data) // 2], data[:-1], data[:-1] + b"\xff"):
        path.write_bytes(damaged)
        assert f"{path} ({len(damaged)} bytes, " in fault(path, load_state)
    path.write_bytes(data.replace(b"epoch", b"apoch"))
    assert "SHA-256" in fault(path, load_state)
    with pytest.raises(FileNotFoundError, match="no file"):
        load_state(tmp_path / "none.safetensors")
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_state(path, {}, {"a": torch.ones(1)})
