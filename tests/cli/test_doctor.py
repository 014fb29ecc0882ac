"""foveal doctor: on a sound installation, on broken ones, and what it must not say."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from foveal.workflows import doctor, machine, packages
from foveal.workflows.packages import Requirement, parse

SOUND = {
    "version": "2.13.0",
    "instructions": "AVX2",
    "threads": 2,
    "interop_threads": 2,
    "cuda_build": None,
    "cuda": [],
    "mps": False,
    "lenet5_ms": 5.0,
    "finite": True,
    "gflops": 60.0,
}
LIBRARIES = {"jpg": "6.2", "zlib": "1.3", "webp": "1.6", "libjpeg_turbo": "3.1"}


def run_doctor(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.argv = ['foveal', 'doctor', *sys.argv[1:]]; from foveal.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True, text=True, encoding="utf-8", timeout=240, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What the two processes answer; the machine is quiet and has room."""
    given = {"torch": dict(SOUND), "packages": {"faults": {}, "pillow": LIBRARIES, "engines": {}}}
    monkeypatch.setattr(doctor, "_probe", lambda what: given[what])
    monkeypatch.setattr(packages, "needed", lambda: [])
    for name, value in {"usable_cores": 2.0, "load": 0.1, "free_memory_gib": 8.0, "free_disk_gib": 90.0}.items():
        monkeypatch.setattr(machine, name, lambda *_, value=value: value)
    monkeypatch.setattr(machine, "encodings", lambda: {"output": "utf-8"})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)
    return given


@pytest.mark.slow
def test_a_sound_installation():
    done = run_doctor("--json", PYTHONUTF8="1")
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert found["ok"] is True
    assert not [one for one in found["troubles"] if one["broken"]]
    assert found["sections"]["Speed"]["matrix product float32, GFLOP/s"] > 0
    assert set(packages.metadata("foveal").get_all("Provides-Extra")) == set(found["sections"]["Optional parts"])
    said = json.dumps(found, ensure_ascii=False)
    assert str(Path.home()) not in said
    assert len(getpass.getuser()) < 5 or getpass.getuser() not in said


@pytest.mark.parametrize(
    ("torch", "says"),
    [
        ("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')", "No module named 'torch'"),
        ("raise OSError('libtorch_cpu.so: cannot open shared object file')", "libtorch_cpu.so: cannot open"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
        ("import sys; sys.exit(3)", "ended with 3"),
    ],
)
def test_a_torch_that_does_not_work(tmp_path, torch, says):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(torch)
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").write_text("raise ImportError('cannot load a library')")
    done = run_doctor(PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "BROKEN: torch does not work: " in done.stdout
    assert says in done.stdout
    assert "BROKEN: sklearn cannot be imported: ImportError: cannot load a library." in done.stdout
    assert "pip install --force-reinstall scikit-learn" in done.stdout


def troubles() -> list[tuple[bool, str]]:
    return [(one.broken, one.what) for one in doctor.examine().troubles]


def test_nothing_is_said_of_what_is_well(answers):
    assert troubles() == []


def test_hints(answers, monkeypatch):
    answers["torch"] |= {"threads": 64, "cuda_build": "12.8"}
    answers["packages"] |= {
        "pillow": {**LIBRARIES, "libjpeg_turbo": ""},
        "engines": {"openvino": {"fault": "no plugin"}},
    }
    for name in ("free_memory_gib", "free_disk_gib"):
        monkeypatch.setattr(machine, name, lambda *_: 0.5)
    monkeypatch.setattr(machine, "load", lambda: 7.0)
    monkeypatch.setattr(machine, "encodings", lambda: {"text files": "ANSI_X3.4-1968"})
    found = troubles()
    assert not any(broken for broken, _ in found)
    for number, part in enumerate(
        [
            "64 threads",
            "CUDA 12.8",
            "libjpeg-turbo",
            "OpenVINO",
            "GiB of disk",
            "GiB of memory",
            "load 7.0",
            "not UTF-8",
        ]
    ):
        assert part in found[number][1]


def test_a_limit_on_threads(answers, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    answers["torch"]["threads"] = 1
    assert troubles() == [(False, "OMP_NUM_THREADS limits torch to 1 of 2 cores.")]


def test_what_is_broken(answers, monkeypatch):
    monkeypatch.setattr(packages, "needed", lambda: [Requirement("no-such-package", "1.0", "", False)])
    monkeypatch.setattr(machine, "may_write", lambda _: "Read-only file system")
    answers["torch"]["finite"] = False
    answers["packages"]["pillow"] = {**LIBRARIES, "jpg": ""}
    found = troubles()
    assert all(broken for broken, _ in found)
    assert [what.split(":")[0] for _, what in found] == [
        "Packages that Foveal cannot do without",
        "A training step of LeNet-5 gave no finite loss.",
        "This Pillow cannot decode JPEG.",
        "No run can be written to runs/ here",
    ]


def test_a_gpu_is_described(answers):
    card = {"name": "A card", "memory_gib": 78.0, "capability": "9.0", "bfloat16": True}
    answers["torch"] |= {"cuda": [card], "cuda_build": "12.8"}
    devices = doctor.examine().sections["Devices"]
    assert devices["cuda:0"] == "A card, 78.0 GiB, compute capability 9.0; mixed precision in float16, bfloat16"
    assert troubles() == []


# --- packages and machine ---


def test_requirements_are_read_as_pip_writes_them():
    lines = ["torch>=2.6", "mkdocstrings[python]>=0.27; extra == 'docs'", "numpy (>=1.26)", 'x; extra == "a"', "y==1",
             'z>=2; sys_platform == "win32" and extra == "b"']  # fmt: skip
    assert list(parse(lines)) == [
        Requirement("torch", "2.6", "", False),
        Requirement("mkdocstrings", "0.27", "docs", False),
        Requirement("numpy", "1.26", "", False),
        Requirement("x", "", "a", False),
        Requirement("y", "", "", False),
        Requirement("z", "2", "b", True),
    ]


@pytest.mark.parametrize(
    ("found", "least", "fault"),
    [("2.13.0+cpu", "2.6", ""), ("2.6.0", "2.6", ""), ("2.5.1", "2.6", "too old"), (None, "2.6", "not installed")],
)
def test_versions(monkeypatch, found, least, fault):
    monkeypatch.setattr(packages, "installed", lambda _: found)
    assert fault in Requirement("torch", least, "", False).fault
    assert bool(Requirement("torch", least, "", False).fault) == bool(fault)


def test_an_extra_names_its_command(monkeypatch):
    monkeypatch.setattr(packages, "installed", lambda _: None)
    for extra in packages.extras():
        assert extra.command == f"pip install 'foveal[{extra.name}]'"
        assert len(extra.missing) == sum(not one.conditional for one in extra.requirements)


@pytest.mark.parametrize(
    ("files", "own", "cores"),
    [
        ({"cpu.max": "150000 100000"}, "0::/\n", 1.5),
        ({"cpu.max": "max 100000"}, "0::/\n", None),
        ({"job/cpu.max": "50000 100000", "cpu.max": "max 100000"}, "0::/job\n", 0.5),
        ({"cpu/job/cpu.cfs_quota_us": "200000", "cpu/job/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/job\n", 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/\n", None),
        ({}, "", None),
    ],
)
def test_the_limits_of_a_container(tmp_path, monkeypatch, files, own, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert machine.usable_cores() == (cores or 8)


@pytest.mark.parametrize(("text", "gib"), [("2147483648", 2.0), ("max", None), ("9223372036854771712", None)])
def test_the_memory_limit_of_a_container(tmp_path, monkeypatch, text, gib):
    (tmp_path / "memory.max").write_text(text + "\n")
    (tmp_path / "own").write_text("0::/\n")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "OWN_CGROUP", tmp_path / "own")
    assert machine.memory_limit_gib() == gib


def test_where_a_run_can_be_written(tmp_path):
    assert machine.may_write(tmp_path / "runs" / "deep") == ""
    (tmp_path / "file").touch()
    assert machine.may_write(tmp_path / "file") == "Not a directory"


def test_home_is_not_named():
    assert machine.private(f"{Path.home()}/venv/bin/python") == "~/venv/bin/python"
