"""Peak of the memory that a process allocates, watched by another process (Linux)."""

import ctypes
import gc
import os
import re
import subprocess
import sys
import time
from pathlib import Path

_WATCH = """
import sys, threading, time
from _peak_memory import allocated
peak = 0
asked = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), asked.set()), daemon=True).start()
print("watching", flush=True)
while not asked.is_set():
    peak = max(peak, allocated(int(sys.argv[1])))
    time.sleep(0.001)
print(max(peak, allocated(int(sys.argv[1]))), flush=True)
"""


def allocated(pid):
    """Return the bytes in memory that no file backs: pages of a memory-mapped file do not count."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", status).group(1))


def settle():
    """Give back what was freed, so that it does not hide what comes next."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


class PeakMemory:
    """Measures a block: `bytes` more than at its start at the most, and `seconds`.

    The watch looks every millisecond. It is a process of its own: a thread would have to wait for
    calls that do not let go of the interpreter, which are those that allocate most.
    """

    def __enter__(self):
        settle()
        self._before = allocated(os.getpid())
        self._watch = subprocess.Popen(
            [sys.executable, "-c", _WATCH, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )
        self._watch.stdout.readline()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exception):
        self.seconds = time.perf_counter() - self._start
        peak, _ = self._watch.communicate("done\n")
        self.bytes = int(peak) - self._before
