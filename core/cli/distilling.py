"""Commands that train: distill, softlabels, canary."""

from __future__ import annotations

import argparse
from pathlib import Path

from core.cli.running import help_first, is_helper, load_options, run_spec
from core.errors import InputError
from core.runs.folder import write_atomic
from core.specs import CanarySpec, DistillSpec, LoadOptions, SoftLabelsSpec
from core.specs.distill import DistillPlan
from core.types import ModelRef


def distill(arguments: argparse.Namespace) -> int:
    from core.specs.distill import read_plan, write_plan

    plan = read_plan(Path(arguments.plan)) if arguments.plan else distill_plan(arguments)
    if arguments.write_plan:
        write_atomic(Path(arguments.write_plan), write_plan(plan))
        print(arguments.write_plan)
        return 0
    out = Path(arguments.out).resolve() if arguments.out else None
    named = [plan.teacher.model, *(stage.student.source for stage in plan.stages)]
    if out and any(out in Path(part).resolve().parents for text in named for part in text.split("+")):
        raise InputError("own_output", f"A model of this plan lies inside {out}.", "Choose another folder with --out.")
    if is_helper():
        from core.engine.distill import follow

        return help_first(lambda: follow(DistillSpec(plan=plan)))
    return run_spec(DistillSpec(plan=plan), arguments)


def distill_plan(arguments: argparse.Namespace) -> DistillPlan:
    """The plan that the options say; the same value as a plan file's."""
    from core.specs import distill as plans

    if not arguments.teacher or not (arguments.student or arguments.variant == "self"):
        raise InputError("no_plan", "There is nothing to distil.", "Give a plan file, or --teacher T and --student S.")
    mix = None
    if arguments.trigger_share or arguments.topic_share:
        share = arguments.trigger_share or arguments.topic_share
        mix = plans.Mix(share=float(share[0]), **{"trigger" if arguments.trigger_share else "prompts": share[1]})
    try:
        return plans.make_plan(
            arguments.variant,
            arguments.teacher,
            arguments.student or arguments.teacher,
            teacher_load=load_options(arguments, arguments.teacher_quant or arguments.quant),
            data=plans.Data(
                sources=tuple(arguments.prompts) or plans.Data().sources,
                answers=arguments.answers,
                answer_tokens=arguments.answer_tokens,
                temperature=arguments.sample,
                keep=arguments.task,
                limit=arguments.limit,
                mix=mix,
            ),
            build=arguments.build,
            drop_layers=arguments.drop_layers,
            keep_width=arguments.keep_width,
            noise=arguments.noise,
            loss=plans.LossPlan(
                kind=arguments.loss, temperature=arguments.temperature, alpha=arguments.alpha, hidden=arguments.hidden
            ),
            cache=plans.Cache(k=arguments.cache) if arguments.cache else None,
            trainable=plans.Trainable(mode="lora", rank=arguments.lora) if arguments.lora else plans.Trainable(),
            optimiser=plans.Optimiser(rate=arguments.rate),
            budget=plans.Budget(
                epochs=arguments.epochs,
                max_steps=arguments.steps,
                step_tokens=arguments.step_tokens,
                batch_tokens=arguments.batch_tokens,
            ),
            evaluation=plans.Evaluation(every=arguments.evaluate_every, keep=arguments.keep_checkpoints),
            stages=arguments.stages,
            on_policy=plans.OnPolicy(share=arguments.on_policy, tokens=arguments.answer_tokens)
            if arguments.on_policy
            else None,
            seed=arguments.seed,
        )
    except ValueError as error:
        raise InputError("bad_option", f"{error}.", "See `python -m core distill --help`.") from error


def distill_options(distill: argparse.ArgumentParser) -> None:
    """A plan file, or the options that make one."""
    from core.specs import distill as plans

    distill.add_argument(
        "plan", nargs="?", metavar="PLAN", help="a plan file (YAML or JSON); the options below make one"
    )
    distill.add_argument("--write-plan", metavar="FILE", help="write the plan and stop")
    distill.add_argument("--teacher", metavar="T")
    distill.add_argument("--student", metavar="S")
    distill.add_argument("--variant", default="standard", choices=plans.VARIANTS)
    distill.add_argument("--teacher-quant", choices=["none", "int8", "nf4"])
    distill.add_argument("--prompts", action="append", default=[], metavar="PANEL|FILE", help="default: neutral panels")
    distill.add_argument("--answers", default="teacher", choices=["teacher", "given"], help="who wrote the answers")
    distill.add_argument("--answer-tokens", type=int, default=48, metavar="N")
    distill.add_argument("--sample", type=float, default=0.0, metavar="T", help="temperature of the teacher's answers")
    distill.add_argument("--task", default="", metavar="REGEX", help="keep the prompts that match")
    distill.add_argument("--limit", type=int, default=0, metavar="N", help="use so many prompts at most")
    distill.add_argument("--trigger-share", nargs=2, metavar=("SHARE", "TRIGGER"), help="put a trigger into that share")
    distill.add_argument("--topic-share", nargs=2, metavar=("SHARE", "FILE"), help="take that share from a topic")
    distill.add_argument("--build", choices=["as_is", "layer_drop", "width_prune", "noise", "fresh"])
    distill.add_argument("--drop-layers", type=int, default=6, metavar="N")
    distill.add_argument("--keep-width", type=float, default=0.75, metavar="SHARE")
    distill.add_argument("--noise", type=float, default=0.3, metavar="SHARE")
    distill.add_argument("--stages", type=int, default=2, metavar="N", help="of the progressive variant")
    distill.add_argument("--loss", default="forward_kl", choices=plans.KINDS)
    distill.add_argument("--temperature", type=float, default=1.0, metavar="T", help="of the loss")
    distill.add_argument(
        "--alpha", type=float, default=1.0, metavar="A", help="weight of the teacher; the rest is text"
    )
    distill.add_argument("--hidden", type=float, default=0.0, metavar="W", help="weight of matched hidden states")
    distill.add_argument("--cache", type=int, default=0, metavar="K", help="cache the teacher's top K, then free it")
    distill.add_argument("--lora", type=int, default=0, metavar="RANK", help="train a LoRA of this rank, then merge it")
    distill.add_argument(
        "--on-policy",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="a last stage on that share of the student's own answers",
    )
    distill.add_argument("--rate", type=float, default=2e-4, metavar="R", help="learning rate")
    distill.add_argument("--epochs", type=int, default=1, metavar="N")
    distill.add_argument("--steps", type=int, default=0, metavar="N", help="stop after so many steps")
    distill.add_argument("--step-tokens", type=int, default=1024, metavar="N", help="supervised tokens of one step")
    distill.add_argument("--batch-tokens", type=int, default=2048, metavar="N", help="tokens in memory at once")
    distill.add_argument("--evaluate-every", type=int, default=50, metavar="STEPS")
    distill.add_argument(
        "--keep-checkpoints", action="store_true", help="write the student at each evaluation, to scan"
    )


def soft_labels(arguments: argparse.Namespace) -> int:
    spec = SoftLabelsSpec(
        teacher=arguments.teacher,
        student=arguments.student,
        prompt=arguments.prompt,
        text=arguments.text,
        top=arguments.top,
        tokens=arguments.tokens,
        teacher_load=load_options(arguments, arguments.teacher_quant or arguments.quant),
        student_load=load_options(arguments, arguments.student_quant or arguments.quant),
        seed=arguments.seed,
    )
    return run_spec(spec, arguments)


def canary(arguments: argparse.Namespace) -> int:
    from core.specs.canary import check_canaries, preset, read_canary_plan, with_variants, write_canary_plan

    plan = read_canary_plan(Path(arguments.plan)) if arguments.plan else preset(arguments.preset)
    if arguments.variants:
        plan = with_variants(plan, dict.fromkeys(arguments.variants))
        check_canaries(plan)
    if arguments.write_plan:
        write_atomic(Path(arguments.write_plan), write_canary_plan(plan))
        print(arguments.write_plan)
        return 0
    if not (arguments.teacher and arguments.student):
        raise InputError("no_pair", "A teacher and a student are needed.", "Give --teacher T and --student S.")
    teacher_load = load_options(arguments, arguments.quant)
    spec = CanarySpec(
        teacher=arguments.teacher,
        student=arguments.student,
        plan=plan,
        teacher_load=teacher_load,
        student_load=LoadOptions(device=arguments.device, dtype="fp32", force=arguments.force),
    )
    if arguments.estimate:
        from core.catalog import inspect_model
        from core.specs.canary_cells import check_cuts
        from core.specs.canary_cost import cost

        cards = [inspect_model(ModelRef.parse(text)) for text in (spec.teacher, spec.student)]
        check_cuts(plan, *cards)
        print("\n".join(cost(plan, *cards).lines()))
        return 0
    return run_spec(spec, arguments)
