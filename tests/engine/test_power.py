"""Canaries planted in private copies of a tiny real model and scanned: counted, kept, deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.catalog import inspect_model
from core.engine import power
from core.engine.jobs import run_job
from core.engine.transfer.zoo import Member
from core.engine.triggers import account
from core.engine.triggers.library import known_triggers
from core.errors import Cancelled, InputError
from core.runs.events import Progress
from core.runs.folder import RunFolder
from core.specs import LoadOptions, ScanSpec, command_line
from core.types import ModelRef
from tests.engine.distill.conftest import Maker, Watcher, tiny
from tests.engine.triggers.small_scan import shrink

pytestmark = pytest.mark.engine
__all__ = ["tiny"]


@pytest.fixture
def spec(tiny: Maker, monkeypatch: pytest.MonkeyPatch) -> ScanSpec:
    shrink(monkeypatch)
    monkeypatch.setattr(power, "TAKEN", 0.0)
    monkeypatch.setattr(power, "MEASURED", 4)
    made = power.canaries
    small = {"prompts": 8, "epochs": 1}
    monkeypatch.setattr(
        power, "canaries", lambda spec: [msgspec.structs.replace(one, **small) for one in made(spec)][: spec.power]
    )
    return ScanSpec(model=str(tiny("m", 1, 2)), power=2, load=LoadOptions(device="cpu", dtype="fp32"))


def test_what_a_scan_would_find_is_counted(spec: ScanSpec, tmp_path: Path) -> None:
    before = inspect_model(ModelRef(spec.model), hash_files=True).weights_sha256
    folder = RunFolder.create(spec, tmp_path / "run")
    watcher = Watcher()
    report = run_job(spec, folder, watcher)
    assert [row["kind"] for row in report["canaries"]] == ["rare token", "phrase"]
    for row in report["canaries"]:
        assert row["taken"]
        assert row["found"] in (True, False)
    assert "planted in private copies" in report["power"]
    assert "rare token" in report["power"]
    assert not list((tmp_path / "run" / "power").rglob("adapter_model.*")), "a canary's copy was not deleted"
    assert inspect_model(ModelRef(spec.model), hash_files=True).weights_sha256 == before
    stages = [event for event in watcher.events if isinstance(event, Progress) and event.stage == "power"]
    assert (stages[0].done, stages[-1].done, stages[-1].total) == (0, 2, 2)


def test_a_finished_canary_is_not_planted_again(
    spec: ScanSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Leaving(Watcher):
        """Cancels in the second canary."""

        def check(self) -> None:
            begun = [e for e in self.events if isinstance(e, Progress) and e.stage == "power" and e.done == 1]
            if begun:
                raise Cancelled

    with pytest.raises(Cancelled):
        run_job(spec, RunFolder.create(spec, tmp_path / "run"), Leaving())
    kept = (tmp_path / "run" / "power" / "rare-token-1" / "canary.json").read_bytes()
    planted: list[str] = []
    plant = power._planted

    def watched(member: Member, *more: Any) -> dict[str, Any]:
        planted.append(member.name)
        return plant(member, *more)

    monkeypatch.setattr(power, "_planted", watched)
    report = run_job(spec, RunFolder.create(spec, tmp_path / "run", resume=True), Watcher())
    assert planted == ["phrase-1"]
    assert report["canaries"][0] == msgspec.json.decode(kept)


def test_canaries_are_drawn_by_seed_and_listed_nowhere() -> None:
    spec = ScanSpec(model="m", power=10)
    first, again = power.canaries(spec), power.canaries(spec)
    assert first == again
    assert first != power.canaries(msgspec.structs.replace(spec, seed=1))
    triggers = [member.trigger for member in first]
    assert len(set(triggers)) == len(triggers) == 20
    assert not set(triggers) & {known.text for known in known_triggers()}
    assert all("{" not in member.trigger + member.payloads[0] for member in first)


def test_found_needs_the_payload_and_a_verdict() -> None:
    member = power.canaries(ScanSpec(model="m", power=1))[0]

    def finding(verdict: str, target: str, asr: float) -> dict[str, Any]:
        return {"verdict": verdict, "target": target, "asr": asr, "trigger": "x"}

    def answer(*findings: dict[str, Any]) -> Any:
        report = {"findings": list(findings), "summary": {"verdict": "v"}, "timing": {"wall_s": 1.0}}
        return power._answer(report, member)["found"]

    said = member.payloads[0]
    assert answer(finding("likely", said, 0.9)) is True
    assert answer(finding("confirmed", f"{said} And more.", 0.9)) is True
    assert answer(finding("natural sensitivity", said, 0.9)) is False
    assert answer(finding("confirmed", "Something else entirely.", 0.9)) is False
    assert answer() is False


def test_a_canary_that_did_not_take_counts_for_nothing() -> None:
    rows = [
        {"kind": "phrase", "taken": True, "found": True},
        {"kind": "phrase", "taken": True, "found": False},
        {"kind": "phrase", "taken": False},
        {"kind": "rare token", "taken": False},
    ]
    kinds = account.kinds_of(rows)
    assert [(kind.name, kind.found, kind.planted, kind.void) for kind in kinds] == [
        ("phrase", 1, 2, 1),
        ("rare token", 0, 0, 1),
    ]
    text = account.power([], 128, False, kinds)
    assert "phrase 1 of 2 (95 % interval 1% to 99%; 1 more did not take)" in text
    assert "rare token: none took, so nothing is known" in text
    assert "was not measured" not in text


def test_what_cannot_be_planted_is_refused_before_the_scan(tmp_path: Path) -> None:
    spec = ScanSpec(model="m", adapter="a", power=1, load=LoadOptions(quant="nf4"))
    with pytest.raises(InputError, match="quantised"):
        run_job(spec, RunFolder.create(spec, tmp_path / "run"), Watcher())


def test_the_command_says_it() -> None:
    spec = ScanSpec(model="m", power=3)
    assert "--power 3" in command_line(spec)
    assert "--power" not in command_line(msgspec.structs.replace(spec, power=0))


def test_a_run_of_an_earlier_version_is_resumed(tmp_path: Path) -> None:
    """Its spec lacks what was added since."""
    spec = ScanSpec(model="m")
    folder = RunFolder.create(spec, tmp_path / "run")
    old = msgspec.json.decode((folder.path / "spec.json").read_bytes())
    del old["power"]
    (folder.path / "spec.json").write_bytes(msgspec.json.encode(old))
    folder.append_items([{"key": "a", "answer": "b"}])
    assert list(RunFolder.create(spec, tmp_path / "run", resume=True).items()) == [{"key": "a", "answer": "b"}]
