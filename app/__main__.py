"""``python -m app [PATH …]``: a teacher and a student folder, or a run folder."""

from __future__ import annotations

import sys

USAGE = """usage: python -m app [TEACHER [STUDENT]] | [RUN]

Opens the window. TEACHER and STUDENT are model folders or .gguf files; RUN is a finished run's folder."""


def main() -> int:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(USAGE)
        return 0
    from app.application import main as show

    return show(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
