"""The command as a process: it keeps the memory that it has freed, and ends with a sentence when it is told to."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource, sys
if "settled" in sys.argv:
    from foveal.cli.process import settle_process
    settle_process()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def use():
    room = libc.malloc(64 << 20)
    ctypes.memset(room, 1, 64 << 20)
    libc.free(room)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc is asked for it"
)
def test_freed_memory_is_used_again_without_page_faults():
    def faults(*words: str) -> int:
        return int(subprocess.run([sys.executable, "-c", FAULTS, *words], capture_output=True, check=True).stdout)

    assert faults("settled") < 50 < faults()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipe that could be waited for")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_with_a_sentence(tmp_path, number):
    pipe = tmp_path / "predictions.csv"
    os.mkfifo(pipe)
    command = [sys.executable, "-c", "from foveal.cli import run; run()", "measure", str(pipe)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    handle = os.open(pipe, os.O_WRONLY)  # returns when the command has opened it, and then waits
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    os.close(handle)
    assert (process.returncode, out, err) == (130, "", "foveal: Stopped.\n")
