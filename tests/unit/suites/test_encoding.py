"""A suite saved by another editor, with a byte order mark and CRLF, holds the same items."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.suites import read_suite
from core.types import RESOURCES


@pytest.mark.parametrize("name", ["occupation-gender.yaml", "brand-preference.yaml"])
def test_bom_and_crlf_change_no_item(name: str, tmp_path: Path) -> None:
    shipped = RESOURCES / "suites" / name
    dressed = tmp_path / name
    dressed.write_bytes(b"\xef\xbb\xbf" + shipped.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    one, two = read_suite(shipped), read_suite(dressed)
    assert two.items == one.items
    assert two.sha256 != one.sha256
