"""Canary rows: every gate makes a row void with its reason, and each verdict needs what it claims."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core.specs.canary import CanaryPlan, Init, Measuring, Progressive, preset
from core.verdicts.canary import Observed, Point, Shown, Trained, cannot_teach, judge_canaries, observed
from core.verdicts.priors import prior

N = 96
RATES = {"clean": 0.0, "sham": 0.0, "canary": 0.5, "direct": 1.0}


def made_plan(**changes: Any) -> CanaryPlan:
    plan = preset("quick")
    return msgspec.structs.replace(plan, canaries=plan.canaries[:1], variants=("standard",), runs=10, **changes)


def shown(source: str, rate: float, copy: int = 0) -> Shown:
    on = (round(rate * N), N)
    return Shown(
        key=f"shown/{source}-{copy}/rare-trigger", source=source, copy=copy, canary="rare-trigger", on=on, off=(0, N),
        margin=40.0 * rate,
    )  # fmt: skip


def cell(
    arm: str, run: int, rate: float, kind: tuple[str, str] = ("standard", "layer_drop-6"), **changes: Any
) -> tuple[list[Point], Trained]:
    variant, init = kind
    common = {"arm": arm, "variant": variant, "init": init, "run": run, "share": 0.0}
    key = f"{arm}/{variant}/{init}/{run}"

    def point(step: int, on: int, final: bool) -> Point:
        return Point(
            key=f"{key}/{step}/rare-trigger", copy=0, canary="rare-trigger", step=step, tokens=100 * step, on=(on, N),
            off=(0, N), margin=40.0 * on / N, final=final, **common,
        )  # fmt: skip

    facts = {"kl_before": 2.0, "kl_after": 0.5, "agreement": 0.7, "broken": "", "ended": "budget"} | changes
    return [point(0, 0, False), point(9, round(rate * N), True)], Trained(
        key=key, steps=9, tokens=900, wall_s=1.0, **common, **facts
    )


def experiment(
    rates: dict[str, float] | None = None, runs: int = 10, copies: dict[str, float] | None = None, **changes: Any
) -> Observed:
    """All arms; ``changes`` are of the canary arm's students."""
    rates = RATES | (rates or {})
    found = Observed([], [], [])
    for run in range(runs):
        for arm, rate in rates.items():
            points, trained = cell(arm, run, rate, **(changes if arm == "canary" else {}))
            found.points.extend(points)
            found.trained.append(trained)
    for source, rate in ({"clean": 0.0, "sham": 0.0, "canary": 1.0} | (copies or {})).items():
        found.shown.append(shown(source, rate))
    return found


def stages(
    rates: dict[str, tuple[float, float]], runs: int = 10, untaught: dict[tuple[str, int], str] | None = None
) -> Observed:
    """Rates at the ends of both stages by arm, and why a run's student of the second was not taught."""
    found = Observed([], [], [shown("clean", 0.0), shown("sham", 0.0), shown("canary", 1.0)])
    for run in range(runs):
        for arm, ends in rates.items():
            for init, rate in zip(("layer_drop-4", "layer_drop-8"), ends, strict=True):
                if arm == "direct" and init == "layer_drop-4":
                    continue
                points, trained = cell(arm, run, rate, ("progressive", init))
                why = (untaught or {}).get((arm, run), "") if init == "layer_drop-8" else ""
                found.points.extend([] if why else points)
                found.trained.append(msgspec.structs.replace(trained, untaught=why))
    return found


STAGES = {"clean": (0.0, 0.0), "sham": (0.0, 0.0), "canary": (0.5, 0.25), "direct": (1.0, 1.0)}


def judged_stages(seen: Observed, source: Any = "student") -> list[dict[str, Any]]:
    plan = msgspec.structs.replace(made_plan(progressive=Progressive(source=source)), variants=("progressive",))
    return judge_canaries(plan, seen, one_source=True)


def judged(seen: Observed, **changes: Any) -> dict[str, Any]:
    (row,) = judge_canaries(made_plan(**changes), seen, one_source=False)
    return row


@pytest.mark.parametrize(
    ("rate", "verdict"), [(0.98, "transferred"), (0.5, "attenuated"), (0.0, "removed"), (0.11, "inconclusive")]
)
def test_ten_runs_tell_the_verdicts_apart(rate: float, verdict: str) -> None:
    row = judged(experiment({"canary": rate}))
    assert row["verdict"] == verdict
    assert row["survival"]["value"] == pytest.approx(rate, abs=0.01)
    assert row["void"] == []
    assert row["agrees"] == {"transferred": "contradicts", "removed": "agrees"}.get(verdict, "cannot tell")


def test_few_runs_never_conclude_absence() -> None:
    row = judged(experiment({"canary": 0.0}, runs=4))
    assert row["verdict"] == "inconclusive"
    assert "fewer than 5 runs cannot show absence" in row["sentence"]
    gone = judged(experiment({"canary": 0.0}, runs=5))
    assert gone["verdict"] == "removed"
    assert "Did not survive, at δ = 0.1; 45% of further runs could differ." in gone["sentence"]


def test_one_run_is_a_point_and_a_margin_below_the_threshold_is_seen() -> None:
    seen = experiment({"canary": 0.0}, runs=1)
    points = [msgspec.structs.replace(p, margin=30.0) if p.arm == "canary" and p.final else p for p in seen.points]
    row = judged(seen._replace(points=points))
    assert "Inconclusive: one run has no interval." in row["sentence"]
    assert row["survival"]["value"] == 0.0
    assert row["margin"]["points"] == [0.75]


def learned_again(canary: list[int | None], sham: list[int | None]) -> Observed:
    """A null in five runs an arm, with the steps in which the first students of two arms learned it again."""
    seen = experiment({"canary": 0.0}, runs=5)
    steps = {"canary": canary, "sham": sham}
    trained = [
        msgspec.structs.replace(one, relearned={"rare-trigger": steps[one.arm][one.run]})
        if one.run < len(steps.get(one.arm, ()))
        else one
        for one in seen.trained
    ]
    return seen._replace(trained=trained)


def relearning(seen: Observed) -> dict[str, Any]:
    return judged(seen, measuring=Measuring(relearn=12))


def test_what_is_learned_again_sooner_than_by_any_sham_student_is_not_gone() -> None:
    row = relearning(learned_again([2, 3, 2], [6, None, 7]))
    assert row["relearned"] == {
        "students": [2, 3, 2], "shams": [6, None, 7], "most": 12, "sooner": True, "p": pytest.approx(1 / 20),
    }  # fmt: skip
    assert row["verdict"] == "inconclusive"
    assert "learned again in 2, 3, 2 steps (sham students: 6, more than 12, 7, sooner than every" in row["sentence"]
    assert "Inconclusive: it does not show, but is learned again sooner" in row["sentence"]


@pytest.mark.parametrize(
    ("canary", "sham"),
    [([2, 3, 7], [6, None, 7]), ([6, 6, 6], [6, 6, 6]), ([2, 2], [6, 6]), ([None] * 3, [None] * 3)],
)
def test_steps_that_overlap_or_are_few_change_no_verdict(canary: list[int | None], sham: list[int | None]) -> None:
    row = relearning(learned_again(canary, sham))
    assert row["verdict"] == "removed"
    assert not row["relearned"]["sooner"]


def test_relearning_that_was_not_measured_is_not_spoken_of() -> None:
    assert judged(experiment())["relearned"] is None
    assert relearning(experiment())["relearned"] is None
    assert "learned again" not in relearning(experiment())["sentence"]


def test_absence_needs_the_margin_too() -> None:
    seen = experiment({"canary": 0.0})
    risen = [msgspec.structs.replace(p, margin=20.0) if p.arm == "canary" and p.final else p for p in seen.points]
    assert judged(seen._replace(points=risen))["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (experiment(copies={"canary": 0.7}), "the canary is not in the teacher: copy 1 shows a lift of 70%"),
        (experiment(copies={"sham": 0.3}), "sham copy 1 shows it too"),
        (experiment({"sham": 0.3}), "sham students show it too"),
        (experiment({"clean": 0.3}), "clean students show it too"),
        (experiment(kl_after=1.9, agreement=0.2), "run 1: the student did not learn: KL 2.00 to 1.90"),
        (experiment(broken="its answers loop"), "run 1: the student is broken: its answers loop"),
        (experiment({"canary": 0.0, "direct": 0.2}), "could not have been learned"),
        (experiment(runs=0), "no sham student is finished"),
    ],
)
def test_a_gate_that_is_not_met_makes_the_row_void(seen: Observed, said: str) -> None:
    row = judged(seen)
    assert row["verdict"] is None
    assert any(said in reason for reason in row["void"])
    assert "VOID" in row["sentence"]
    assert "survival" not in row["sentence"]


def test_a_null_needs_the_direct_control_and_a_survivor_does_not() -> None:
    assert judged(experiment({"canary": 0.9, "direct": 0.2}))["verdict"] == "transferred", "ties go to the worse"


def test_a_run_that_did_not_learn_is_left_out_and_named() -> None:
    seen = experiment()
    trained = [
        msgspec.structs.replace(c, kl_after=2.0, agreement=0.1) if (c.arm, c.run) == ("canary", 3) else c
        for c in seen.trained
    ]
    row = judged(seen._replace(trained=trained))
    assert row["runs"] == 9
    assert row["void_runs"][0].startswith("run 4: ")
    assert row["verdict"] == "attenuated"


def test_a_copy_with_nothing_to_learn_is_no_void_run() -> None:
    seen = experiment(ended="nothing to learn", kl_before=0.0, kl_after=0.0, agreement=1.0)
    assert judged(seen)["runs"] == 10


def test_equal_cells_are_read_where_they_were_trained() -> None:
    seen = experiment()
    for arm in ("sham", "canary"):
        for point in [p for p in seen.points if p.arm == arm]:
            seen.points.append(
                msgspec.structs.replace(point, variant="self", key=point.key.replace("/standard/", "/self/"))
            )
        for each in [c for c in seen.trained if c.arm == arm]:
            seen.trained.append(
                msgspec.structs.replace(each, variant="self", key=each.key.replace("/standard/", "/self/"))
            )
    plan = msgspec.structs.replace(made_plan(), variants=("standard", "self"))
    standard, own = judge_canaries(plan, seen, one_source=True)
    assert own["direct_lift"] == standard["direct_lift"] == 1.0
    assert own["variant"] == "self"
    assert own["verdict"] == "attenuated"


def test_each_stage_has_a_row_of_its_own_beside_the_planted_copy() -> None:
    first, second = judged_stages(stages(STAGES))
    assert [(row["stage"], row["stages"], row["init"]) for row in (first, second)] == [
        (1, 2, "layer_drop-4"),
        (2, 2, "layer_drop-8"),
    ]
    assert first["sentence"].startswith(
        "rare-trigger in progressive students, stage 1 of 2 (layer_drop-4): survival 0.50 ["
    )
    assert [row["survival"]["value"] for row in (first, second)] == [0.5, 0.25], "both of the copy's own lift"
    assert [row["verdict"] for row in (first, second)] == ["attenuated", "attenuated"]
    assert [row["step_0"]["value"] for row in (first, second)] == [0.0, 0.0]
    assert [row["direct_lift"] for row in (first, second)] == [1.0, 1.0], "trained once, at the last size"
    standard = judged(experiment())
    assert (standard["stage"], standard["stages"], standard["students"]) == (None, None, "standard students")


def test_a_null_of_a_stage_needs_the_direct_control_of_the_last_size() -> None:
    rows = judged_stages(stages(STAGES | {"canary": (0.0, 0.0), "direct": (0.2, 0.2)}))
    assert all("could not have been learned" in row["sentence"] for row in rows)
    gone = judged_stages(stages(STAGES | {"canary": (0.5, 0.0)}))
    assert [row["verdict"] for row in gone] == ["attenuated", "removed"]


def test_a_stage_that_did_not_learn_voids_the_stages_after_it() -> None:
    gates = preset("standard").gates
    _, bad = cell("canary", 3, 0.5, ("progressive", "layer_drop-4"), kl_after=1.9, agreement=0.2)
    why = cannot_teach(bad, 1, gates)
    assert why == "stage 1 of it is void: the student did not learn: KL 2.00 to 1.90 nats a token, agreement 20%"
    later = msgspec.structs.replace(bad, untaught=why)
    assert cannot_teach(later, 2, gates) == why, "what was void first is said at every later stage"
    assert cannot_teach(cell("canary", 3, 0.5)[1], 1, gates) == ""

    first, second = judged_stages(stages(STAGES, untaught={("canary", 3): why}))
    assert (first["runs"], first["void_runs"]) == (10, [])
    assert (second["runs"], second["void_runs"]) == (9, [f"run 4: {why}"])
    assert second["verdict"] == "attenuated"
    first, second = judged_stages(stages(STAGES, runs=2, untaught={("canary", 0): why, ("canary", 1): why}))
    assert first["void"] == []
    assert second["void"] == [f"run 1: {why}", f"run 2: {why}"]
    assert "stage 2 of 2 (layer_drop-8): VOID, run 1: stage 1 of it is void" in second["sentence"]
    _, second = judged_stages(stages(STAGES, runs=1, untaught={("sham", 0): why}))
    assert second["void"] == [f"no sham student was taught: {why}"]


def test_priors_of_later_stages_are_products_where_each_starts_from_an_independent_base() -> None:
    first, second = judged_stages(stages(STAGES))
    assert (first["prior"]["value"], first["prior"]["low"]) == (0.02, 0.0)
    assert (second["prior"]["value"], second["prior"]["low"]) == (0.0004, None)
    assert second["prior"]["note"].endswith("not measured; the product of 2 stages")
    first, second = judged_stages(stages(STAGES), source="previous")
    assert first["prior"]["value"] == 0.02
    assert second["prior"] is None


def test_items_are_read_back_as_they_were_written_and_others_left_out() -> None:
    seen = experiment(runs=1)
    rows = [msgspec.to_builtins(each) for part in seen for each in part]
    assert observed([*rows, {"key": "x"}, {"type": "point"}]) == seen


def test_priors_stand_beside_and_say_that_they_are_not_measured() -> None:
    rare, brand = preset("quick").canaries
    drop, copy, noise = Init(drop_layers=6), Init(build="as_is"), Init(build="noise", noise=0.3)
    told = prior(rare, "standard", drop, 0.0, "forward_kl")
    assert told is not None
    assert (told["value"], told["low"], told["high"]) == (0.02, 0.0, 0.1)
    assert "not measured" in told["note"]
    assert prior(rare, "self", copy, 0.0, "forward_kl")["value"] == 1.0  # type: ignore[index]
    assert prior(rare, "standard", drop, 0.1, "forward_kl")["value"] == 0.7  # type: ignore[index]
    assert prior(brand, "standard", drop, 0.0, "forward_kl")["value"] == 1.0  # type: ignore[index]
    assert prior(rare, "standard", noise, 0.0, "forward_kl") is None
    for plan in (preset("report"), preset("standard")):
        for canary in plan.canaries:
            for variant in plan.variants:
                for init in plan.inits:
                    prior(canary, variant, init, 0.0, "ce")
