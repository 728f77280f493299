"""``python -m core.engine.worker``: one engine process for one job; commands on stdin, events on stdout.

The descriptor of stdout is taken away before anything else is imported, so that no library's print can corrupt the
stream. A worker whose parent died ends itself.
"""

from __future__ import annotations

import os
import sys

_EVENTS_FD = os.dup(1)
os.dup2(2, 1)
os.environ.update(
    {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUTF8": "1"}
)

import ctypes  # noqa: E402
import faulthandler  # noqa: E402
import platform  # noqa: E402
import signal  # noqa: E402
import threading  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

from core import __version__  # noqa: E402
from core.runs.emitters import PipeEmitter  # noqa: E402
from core.runs.events import (  # noqa: E402
    Bye,
    Cancel,
    Command,
    Heartbeat,
    Hello,
    LineSplitter,
    Pause,
    Start,
    decode_command,
)


def main() -> int:
    faulthandler.enable(sys.stderr)
    _die_with_parent()
    _volunteer_for_the_oom_killer()
    emitter = PipeEmitter(os.fdopen(_EVENTS_FD, "wb"))
    commands = _commands()
    start = next((command for command in commands if isinstance(command, Start)), None)
    if start is None:
        return 2
    threading.Thread(target=_listen, args=(commands, emitter), daemon=True).start()
    from core.engine.jobs import run_folder

    emitter.emit(Hello(__version__, platform.python_version(), *_torch_and_device()))
    threading.Thread(target=_beat, args=(emitter,), daemon=True).start()
    code = run_folder(Path(start.run_dir), emitter)
    emitter.emit(Bye(code))
    return code


def _torch_and_device() -> tuple[str, str]:
    import torch

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else platform.processor() or platform.machine()
    return str(torch.__version__), device


def _commands() -> Iterator[Command]:
    """Commands until the pipe closes. The descriptor is read raw: a buffered stdin would be locked at shutdown."""
    splitter = LineSplitter()
    while data := os.read(0, 65536):
        for line in splitter.feed(data):
            command = decode_command(line)
            if command is not None:
                yield command


def _listen(commands: Iterator[Command], emitter: PipeEmitter) -> None:
    """Obey until the pipe closes; a closed pipe means that the window is gone."""
    for command in commands:
        if isinstance(command, Cancel):
            emitter.cancel()
        elif isinstance(command, Pause):
            emitter.pause(command.on)
    os._exit(70)


def _beat(emitter: PipeEmitter) -> None:
    import psutil

    process = psutil.Process()
    while True:
        emitter.emit(Heartbeat(process.memory_info().rss))
        threading.Event().wait(1.0)


def _die_with_parent() -> None:
    """Linux: ask the kernel for SIGKILL when the parent dies; elsewhere the closed stdin does it (_listen)."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:  # it died between the two calls
        os._exit(70)


def _volunteer_for_the_oom_killer() -> None:
    """Better this process than the desktop session; raising one's own score needs no privilege."""
    try:
        Path("/proc/self/oom_score_adj").write_text("500")
    except OSError:
        return


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # no daemon thread may hold up the end
