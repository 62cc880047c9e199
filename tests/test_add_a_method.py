"""The page on adding a method tells the truth: its files are added to the package, and laws run."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "add_a_method.md").read_text()
CLASSICAL, USE, MODULE, RECORD = (p.split("```")[0] for p in PAGE.split("```python\n")[1:])

# A plugin of pytest that puts a folder of methods and one of networks beside the package's own.
PLUGIN = """
from pathlib import Path

import xstf.methods.fuse
import xstf.nets

xstf.methods.fuse.__path__.append(str(Path(__file__).parent / "fuse"))
xstf.nets.__path__.append(str(Path(__file__).parent / "nets"))
"""
ADDS = "(fine[0] + change)"
# What is wrong in the method of that name: a part of the page's, and what stands there instead.
WRONG_METHODS = {
    "sees_the_tile": (ADDS, "(fine[0] + change - np.nanmean(change))"),
    "adds_a_bit": (ADDS, "(fine[0] + change + np.float32(0.001))"),
    "writes_its_input": (ADDS, "np.add(fine[0], change, out=fine[0])"),
    "shifts": (ADDS, "(fine[0] + np.roll(change, 3, axis=-1))"),
}
WRONG_NETWORKS = {
    "sees_one_date": ("[fine0, coarse0, coarse1]", "[fine0, coarse0, coarse0]"),
    "starts_anywhere": ("nn.init.zeros_(values)", "nn.init.normal_(values)"),
    "sees_its_batch": ("self.first(images)", "self.first(images - images.mean(0))"),
}


@pytest.fixture
def package(tmp_path):
    (tmp_path / "added.py").write_text(PLUGIN)
    for folder in ("fuse", "nets"):
        (tmp_path / folder).mkdir()
    return tmp_path


def changed(code: str, name: str, *changes: tuple[str, str]) -> str:
    """Return a file of the page under another name, with something else in it."""
    for old, new in [("delta_one", name), ("two_layers", name), *changes]:
        assert code.count(old) <= 3
        code = code.replace(old, new)
    return code


def laws(package: Path, *files: str) -> dict[str, set[str]]:
    """Run law files over what is in the package; return which laws failed, for each method."""
    names = [p.stem for p in (package / "fuse").glob("*.py")]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    env["PYTHONPATH"] = os.pathsep.join([str(package), str(ROOT)])
    report = package / "report.xml"
    call = [
        sys.executable, "-m", "pytest", "-q", "-p", "added", "-p", "no:cacheprovider",
        "--hypothesis-profile=first", "-k", " or ".join(names), f"--junitxml={report}",
        *(str(ROOT / "tests" / file) for file in files),
    ]  # fmt: skip
    done = subprocess.run(call, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout + done.stderr
    failed: dict[str, set[str]] = {name: set() for name in names}
    ran = dict.fromkeys(names, 0)
    for case in ET.parse(report).iter("testcase"):
        law, _, rest = case.attrib["name"].partition("[")
        (name,) = {n for n in names if n in rest.rstrip("]").split("-")}
        ran[name] += 1
        if case.find("failure") is not None or case.find("error") is not None:
            failed[name].add(law)
    assert min(ran.values()) > 10, done.stdout
    return failed


@pytest.mark.slow
def test_a_method_is_one_file_and_the_laws_find_it(package):
    """The page's obeys them all; each wrong one breaks the law that it should."""
    (package / "fuse" / "delta_one.py").write_text(CLASSICAL)
    for name, change in WRONG_METHODS.items():
        assert change[0] in CLASSICAL
        (package / "fuse" / f"{name}.py").write_text(changed(CLASSICAL, name, change))
    failed = laws(package, "test_laws.py")
    assert not failed["delta_one"]
    assert "test_tiles_give_what_the_whole_gives" in failed["sees_the_tile"]
    assert "test_halo_is_honest" in failed["sees_the_tile"]
    assert "test_no_change_returns_fine" in failed["adds_a_bit"]
    assert "test_a_kernel_writes_to_nothing_that_it_is_given" in failed["writes_its_input"]
    assert "test_mirrored_in_gives_mirrored_out" in failed["shifts"]


@pytest.mark.slow
def test_a_network_is_two_files_and_the_laws_find_it(package):
    def write(name, *changes):
        (package / "nets" / f"{name}.py").write_text(changed(MODULE, name, *changes))
        (package / "fuse" / f"{name}.py").write_text(changed(RECORD, name))

    write("two_layers")
    for name, change in WRONG_NETWORKS.items():
        assert change[0] in MODULE
        write(name, change)
    failed = laws(package, "nets/test_fusion_laws.py", "test_net_laws.py")
    assert not failed["two_layers"]
    assert "test_every_image_counts_but_those_that_the_record_names" in failed["sees_one_date"]
    assert "test_an_untrained_network_changes_nothing" in failed["starts_anywhere"]
    assert "test_images_of_a_batch_do_not_see_each_other" in failed["sees_its_batch"]


def test_the_page_shows_how_the_method_is_used(monkeypatch, package):
    import xstf.methods.fuse

    (package / "fuse" / "delta_one.py").write_text(CLASSICAL)
    folders = [*xstf.methods.fuse.__path__, str(package / "fuse")]
    monkeypatch.setattr(xstf.methods.fuse, "__path__", folders)
    space: dict = {"__name__": "docs_example"}
    exec(compile(USE, "add_a_method.md", "exec"), space)
    assert space["fused"].sizes["time"] == 2
    monkeypatch.delitem(sys.modules, "xstf.methods.fuse.delta_one")


@pytest.mark.slow
def test_the_files_of_the_page_are_clean(tmp_path):
    """As the project's own: ruff's rules and mypy's strict mode."""
    pytest.importorskip("mypy", reason="needs mypy: the extra 'lint'")
    pytest.importorskip("ruff", reason="needs ruff: the extra 'lint'")
    files = []
    for name, code in [("method", CLASSICAL), ("module", MODULE), ("record", RECORD)]:
        files.append(tmp_path / f"{name}.py")
        files[-1].write_text(code)
    config = ["--config", str(ROOT / "pyproject.toml")]
    # As the project has it for its own folder of networks.
    mypy = ["--config-file", config[1], "--allow-subclassing-any", "--no-warn-return-any"]
    for tool in (
        ["ruff", "check", *config],
        ["ruff", "format", "--check", *config],
        ["mypy", *mypy],
    ):
        call = [sys.executable, "-m", *tool, *map(str, files)]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
