"""Sets Foreshot up and runs it: ``python packaging/bootstrap.py demo|test|app|…``. Standard library only.

Works on Linux, macOS and Windows (``py packaging/bootstrap.py demo``); the Makefile is its thin face. Running it twice
costs nothing: a marker holds the hash of what was installed.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
QT_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
}
XCB_LIBRARIES = {
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-render-util.so.0": "libxcb-render-util0",
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Sets Foreshot up in .venv and runs one command there.")
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("rest", nargs="*", help="paths for `app`")
    parser.add_argument("--out", help="where `demo` writes (default: $OUT, else build/demo)")
    arguments = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 - this script is what says so
        return stop(
            f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.", "Install it and run this with it."
        )
    if arguments.out:
        os.environ["OUT"] = str(Path(arguments.out).absolute())
    rest = [str(Path(path).absolute()) for path in arguments.rest]
    os.chdir(ROOT)
    try:
        return COMMANDS[arguments.command](rest)
    except KeyboardInterrupt:
        return stop("Stopped; what was installed stays.", "Run it again to go on.")
    except OSError as error:
        return stop(f"Set-up stopped: {error}.", free_space() or "See that this folder can be written; run it again.")


# commands


def demo(_: list[str]) -> int:
    set_up("engine")
    stated = os.environ.get("OUT")
    out = Path(stated or "build/demo")
    code = python("-m", "core", "demo", "--out", str(out))
    if code == 0 and not stated and has_display() and not os.environ.get("CI"):
        detached(str(PYTHON), "-m", "app", str(out))
    return code


def app(paths: list[str]) -> int:
    set_up("engine")
    return python("-m", "app", *paths)


def model(_: list[str]) -> int:
    set_up("engine")
    return python("-m", "core", "model")


def check(_: list[str]) -> int:
    """Style, types and the wall; no model, no tests."""
    set_up("test")
    code = python("-m", "ruff", "check", ".") or python("-m", "ruff", "format", "--check", ".")
    return code or python("-m", "mypy") or lint_imports()


def test(_: list[str]) -> int:
    set_up("test")
    headless()
    if not os.environ.get("FORESHOT_MODEL"):
        say("the small real model")
        if python("-m", "core", "model"):
            say("without the small model its tests are skipped")
    return check([]) or python("-m", "pytest", "-m", "not gpu and not long", *side_by_side())


def verify(_: list[str]) -> int:
    """The long tests, the verdicts on pairs whose truth is known, and the zoo, made and scanned.

    It takes hours; what is finished of pairs and zoo is kept in ``build``, and goes on there.
    """
    set_up("test")
    headless()
    benchmarks = ROOT / "tests" / "benchmarks"
    zoo = str(ROOT / "build" / "zoo")
    return (
        python("-m", "core", "model")
        or python("-m", "pytest", "-m", "long")
        or python(str(benchmarks / "bench_truth.py"))
        or python("-m", "core.engine.transfer.zoo", str(benchmarks / "zoo.yaml"), "--out", zoo)
        or python(str(benchmarks / "bench_zoo.py"), zoo)
    )


def gpu(_: list[str]) -> int:
    set_up("test")
    headless()
    return python("-m", "core", "model") or python("-m", "pytest", "-m", "gpu")


def bench(_: list[str]) -> int:
    set_up("test")
    headless()
    code = 0
    for script in sorted((ROOT / "tests" / "benchmarks").glob("bench_*.py")):
        code = python(str(script)) or code
    return code


def setup(_: list[str]) -> int:
    set_up("test")
    return 0


COMMANDS = {
    "demo": demo,
    "test": test,
    "app": app,
    "model": model,
    "check": check,
    "verify": verify,
    "gpu": gpu,
    "bench": bench,
    "setup": setup,
}


# set-up


def set_up(extra: str) -> None:
    """Make the environment and install ``extra`` into it, unless exactly that was done before."""
    missing = missing_libraries()
    if missing:
        root = "" if os.name == "nt" or os.geteuid() == 0 else "sudo "
        print(f"The window lacks system libraries. To install them:  {root}apt-get install -y {' '.join(missing)}")
        print("The command line works without them; this goes on.", flush=True)
    lock = ROOT / "packaging" / f"engine-{'cuda' if has_nvidia() else 'cpu'}.txt"
    wanted = digest(ROOT / "pyproject.toml", lock)
    covering = [VENV / f"foreshot-{extra}.sha256", VENV / "foreshot-test.sha256"]  # test includes engine
    if PYTHON.exists() and any(path.exists() and path.read_text() == wanted for path in covering):
        return
    started = time.monotonic()
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
    if not starts("import sys, pip; raise SystemExit(sys.version_info < (3, 11))"):
        step(1, f"an environment in {VENV.name}", started)
        # one whose Python is gone or too old cannot be repaired; one that only lacks pip keeps what it has
        clear = [] if starts("import sys; raise SystemExit(sys.version_info < (3, 11))") else ["--clear"]
        install(
            [sys.executable, "-m", "venv", *clear, str(VENV)],
            "Debian and Ubuntu keep Python's venv apart: install python3-venv.",
        )
    step(2, "pip", started)
    install([*pip, "--upgrade", "pip>=25"])
    step(3, f"the engine ({lock.name}; some hundred megabytes the first time)", started)
    install([*pip, "-r", str(lock)])
    step(4, f"Foreshot and its {extra} tools", started)
    install([*pip, "-c", str(lock), "-e", f".[{extra}]"])
    covering[0].write_text(wanted)
    say(f"set up in {time.monotonic() - started:.0f} s")


def starts(program: str) -> bool:
    """Whether the environment's Python runs ``program`` and ends with 0."""
    try:
        return subprocess.run([str(PYTHON), "-c", program], check=False, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def install(command: list[str], otherwise: str = "Run it again; what was fetched is kept.") -> None:
    """Run a step, showing what is fetched; if it fails, end with its last lines, one sentence and a next step."""
    tail: collections.deque[str] = collections.deque(maxlen=12)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    ) as process:
        for line in process.stdout or ():
            tail.append(line.rstrip())
            if line.strip().startswith(("Collecting", "Downloading", "Installing")):
                print(f"    {line.strip()[:110]}", flush=True)
    if process.returncode:
        print("\n".join(tail), file=sys.stderr)
        raise SystemExit(stop("Set-up stopped: the step above failed.", failure_hint(" ".join(tail)) or otherwise))


def failure_hint(tail: str) -> str:
    """What to do next, read from the last lines of a failed step; empty if they say nothing known."""
    said = tail.lower()
    if "no space left" in said or "errno 28" in said or "not enough space" in said:
        return "The disk is full; about 3 GiB are needed (a CUDA build of torch: 8 GiB)."
    network = ("name resolution", "failed to establish", "newconnectionerror", "connection refused", "timed out")
    if any(words in said for words in (*network, "getaddrinfo failed", "proxyerror", "ssl:")):
        return "The network or the package index was not reached. Check it and run this again."
    if "no matching distribution" in said:
        version = sys.version.split()[0]
        return f"No fitting package was found for Python {version} here. Is the index reachable? Python 3.11 is tested."
    return free_space()


def free_space() -> str:
    free = shutil.disk_usage(ROOT).free / 2**30
    return f"Only {free:.1f} GiB are free on this disk; about 3 GiB are needed." if free < 3 else ""


def missing_libraries() -> list[str]:
    """Debian packages of the libraries that Qt needs and this Linux lacks."""
    if not sys.platform.startswith("linux"):
        return []
    wanted = QT_LIBRARIES | (XCB_LIBRARIES if has_display() else {})
    return [package for library, package in wanted.items() if not loads(library)]


def loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def has_nvidia() -> bool:
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists()


def has_display() -> bool:
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


def headless() -> None:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def python(*words: str) -> int:
    return subprocess.run([str(PYTHON), *words], check=False).returncode


def lint_imports() -> int:
    tool = PYTHON.with_name("lint-imports.exe" if os.name == "nt" else "lint-imports")
    return subprocess.run([str(tool)], check=False).returncode


def side_by_side() -> list[str]:
    """Flags of pytest for a process a core (tests/conftest.py holds each to its own); memory bounds them to four."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(cores, 4)
    # the order of the collection stays: what takes longest has to begin first
    return ["-n", str(processes), "--dist", "loadgroup", "--no-loadscope-reorder"] if processes > 1 else []


def detached(*command: str) -> None:
    """Start a window that outlives this script."""
    if os.name == "nt":
        subprocess.Popen(command, creationflags=subprocess.DETACHED_PROCESS)  # type: ignore[attr-defined]
    else:
        subprocess.Popen(
            command,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def step(number: int, text: str, started: float) -> None:
    say(f"{number}/4 {text}  [{time.monotonic() - started:.0f} s]")


def say(text: str) -> None:
    print(f"foreshot · {text}", flush=True)


def stop(what: str, hint: str) -> int:
    print(f"foreshot · {what} {hint}", file=sys.stderr)
    return 3


if __name__ == "__main__":
    raise SystemExit(main())
