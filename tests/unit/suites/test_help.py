"""The help page's table of suites is what the files hold, and its example is a suite."""

from __future__ import annotations

import re
from pathlib import Path

from core.suites import list_suites, read_suite
from core.suites.check import warnings
from core.types import RESOURCES

PAGE = (RESOURCES / "help" / "suites.md").read_text(encoding="utf-8")


def test_the_table_holds_every_shipped_suite() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| ")]
    told = {row[1].strip("`"): row for row in rows if len(row) == 8 and row[1].startswith("`")}
    shipped = {suite.id: suite for suite in list_suites()}
    assert set(told) == set(shipped)
    for name, suite in shipped.items():
        clusters = len({item.cluster for item in suite.items})
        langs = ", ".join(suite.languages)
        facts = [suite.risk_class, f"`{name}`", str(len(suite.items)), str(clusters), langs, f"{suite.margin:g}"]
        assert told[name][:6] == facts
        assert told[name][7] == suite.limits, f"the last column for {name} is not the file's limits"


def test_the_example_is_a_suite(tmp_path: Path) -> None:
    lines = re.findall(r"^    (.*)$", PAGE[PAGE.index("    schema: foreshot-suite/2") :], re.MULTILINE)
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert len(read_suite(path).items) == 2


def test_every_shipped_suite_is_large_and_balanced_enough() -> None:
    for suite in list_suites():
        assert not warnings(suite), suite.id
        assert "not reviewed by native speakers" in suite.provenance
