"""Sources → rows → examples: what is learned, and which tokens of it.

Prompts that an evaluation uses are left out, duplicates too; a dose of a trigger or topic is put in only where the plan
asks for it. Only answers are supervised, and which tokens those are is proved: the tokens of the prompt, of prompt and
answer, and of the whole conversation have to be prefixes of one another.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from core.engine.lm import Generation, LanguageModel, insert
from core.errors import InputError
from core.runs.events import Emitter, Progress
from core.specs.distill import Data, Mix
from core.types import RESOURCES

GRAM = 13
"""Words of a near-duplicate's common run, as usual in decontamination."""
TOO_MANY_DEGENERATE = 0.5


class Row(NamedTuple):
    """One datum: a conversation that ends in ``prompt`` (and its ``answer``, if given), or plain ``text``."""

    where: str
    prompt: str = ""
    answer: str | None = None
    system: str | None = None
    history: tuple[tuple[str, str], ...] = ()
    text: str | None = None

    @property
    def words(self) -> str:
        """Lower-case words without punctuation: what counts as the same prompt."""
        said = self.text if self.text is not None else " ".join((*sum(self.history, ()), self.prompt))
        return normalised(said)

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.words}\0{self.answer or ''}".encode()).hexdigest()[:24]


class Example(msgspec.Struct, array_like=True):
    """Token ids, and the places ``at`` whose tokens are to be predicted (each from the state before it).

    ``teacher_ids`` and ``teacher_at`` are the teacher's, where its template or tokenizer differs: ``at`` and
    ``teacher_at`` name the same places of the same text. ``prompt`` is the student's rendered prompt.
    """

    key: str
    prompt: str
    ids: list[int]
    at: list[int]
    teacher_ids: list[int] | None = None
    teacher_at: list[int] | None = None


class Rows(NamedTuple):
    train: list[Row]
    held_out: list[Row]
    counts: dict[str, int]


# sources


def read_rows(data: Data, seed: int) -> Rows:
    """All sources, filtered and split; the same for the same plan.

    Raises:
        InputError: a source is absent, malformed (the row is named) or leaves nothing.
    """
    counts: Counter[str] = Counter()
    rows = [row for source in data.sources for row in read_source(source)]
    counts["read"] = len(rows)
    if data.answers == "given":
        lacking = next((row for row in rows if row.text is None and row.answer is None), None)
        if lacking:
            raise InputError(
                "no_answer", f"{lacking.where} has no answer.", "Add one, or let the teacher answer: answers: teacher."
            )
    rows = _filtered(rows, data, counts)
    rows.sort(key=lambda row: hashlib.sha256(f"{seed}/{row.words}".encode()).digest())
    held_out, train = rows[: data.held_out], rows[data.held_out :]
    if not train:
        raise InputError(
            "no_data",
            f"Nothing is left to train on: {counts['read']} rows were read, {len(rows)} are usable and "
            f"{data.held_out} are kept for evaluation.",
            "Give more prompts, or lower data.held_out.",
        )
    if data.limit:
        train = train[: data.limit]
    if data.mix:
        train = _mixed(train, data.mix, {row.words for row in held_out}, counts)
    counts |= {"train": len(train), "held_out": len(held_out)}
    return Rows(train, held_out, dict(counts))


def _filtered(rows: list[Row], data: Data, counts: Counter[str]) -> list[Row]:
    wanted = re.compile(data.keep, re.IGNORECASE) if data.keep else None
    evaluated = evaluation_prompts()
    seen: set[str] = set()
    grams: set[str] = set()
    kept = []
    for row in rows:
        if wanted and not wanted.search(row.text if row.text is not None else row.prompt):
            counts["off_task"] += 1
        elif row.words in evaluated:
            counts["used_by_an_evaluation"] += 1
        elif row.words in seen:
            counts["duplicate"] += 1
        elif _is_near_duplicate(row, grams):
            counts["near_duplicate"] += 1
        else:
            kept.append(row)
        seen.add(row.words)
    return kept


def _is_near_duplicate(row: Row, grams: set[str]) -> bool:
    """More than half of its runs of 13 words were seen before; remembers them."""
    words = f"{row.words} {normalised(row.answer or '')}".split()
    own = {" ".join(words[at : at + GRAM]) for at in range(len(words) - GRAM + 1)}
    seen = len(own & grams)
    grams |= own
    return bool(own) and 2 * seen > len(own)


def _mixed(train: list[Row], mix: Mix, held_out: set[str], counts: Counter[str]) -> list[Row]:
    """Put the dose in: the trigger into that share of the prompts, or that share of them taken from the topic.

    Train rows are in the order of a hash, so that the first ones are a sample.
    """
    dose = round(mix.share * len(train))
    counts["mixed_in"] = dose
    if mix.trigger:
        placed = [row._replace(prompt=insert(row.prompt, mix.trigger, mix.slot)) for row in train[:dose]]
        return placed + train[dose:]
    known = held_out | {row.words for row in train}
    topic = [row for row in read_source(mix.prompts) if row.words not in known]
    if len(topic) < dose:
        raise InputError(
            "too_few_topic_prompts",
            f"{mix.prompts} has {len(topic)} usable prompts, and a share of {mix.share:.0%} needs {dose}.",
            "Lower data.mix.share, or give more prompts.",
        )
    return topic[:dose] + train[dose:]


def evaluation_prompts() -> set[str]:
    """Words of every text that a scan or a shipped suite puts to a model: a student that trained on one would be
    measured on what it learned by heart."""
    from core.suites import list_suites

    texts: list[str] = []
    for file in (RESOURCES / "panels").glob("*.yaml"):
        panel = yaml.safe_load(file.read_text("utf-8"))
        texts += [prompt for part in ("search", "held_out") for prompt in panel.get(part, ())]
    for suite in list_suites():
        for item in suite.items:
            texts += _strings(item.plan)
    return {normalised(text) for text in texts}


def _strings(value: Any) -> Iterable[str]:
    """Every text within an item, whatever its kind; single words (labels, pronouns) are no prompts."""
    if isinstance(value, str):
        return [value] if " " in value or not value.isascii() else []
    return [text for part in value for text in _strings(part)] if isinstance(value, tuple) else []


def normalised(text: str) -> str:
    return " ".join("".join(sign if sign.isalnum() else " " for sign in text.casefold()).split())


def read_source(source: str) -> list[Row]:
    """A panel by name, or a .jsonl, .csv or text file (one prompt a line)."""
    panel = RESOURCES / "panels" / f"{source}.yaml"
    if re.fullmatch(r"[a-z0-9-]+", source) and panel.exists():
        prompts = yaml.safe_load(panel.read_text("utf-8")).get("prompts", [])
        return [Row(f"{source}, prompt {number}", prompt) for number, prompt in enumerate(prompts, 1)]
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("bad_data", f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error
    except OSError as error:
        raise InputError(
            "no_data", f"There is no panel or file called {source}.", "Name a panel of resources/panels, or a file."
        ) from error
    readers = {".jsonl": _from_jsonl, ".csv": _from_csv}
    rows = list(readers.get(path.suffix.lower(), _from_lines)(path, text))
    if not rows:
        raise InputError("no_data", f"{path} holds no row.", "Give a file with prompts.")
    return rows


def _from_lines(path: Path, text: str) -> Iterable[Row]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield Row(f"{path.name}, line {number}", line.strip())


def _from_csv(path: Path, text: str) -> Iterable[Row]:
    try:
        for number, record in enumerate(csv.DictReader(io.StringIO(text, newline=""), strict=True), 2):
            yield _row(record, f"{path.name}, row {number}")
    except csv.Error as error:
        raise InputError(
            "bad_data", f"{path.name} is no CSV: {error}.", "Save it again as CSV with a header."
        ) from error


def _from_jsonl(path: Path, text: str) -> Iterable[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError("bad_data", f"{where} is no JSON ({error}).", "Correct or remove the line.") from error
        yield _row(record, where)


def _row(record: Any, where: str) -> Row:
    if not isinstance(record, dict):
        raise _bad_row(where, "is no object")
    if isinstance(record.get("messages"), list):
        return _conversation(record["messages"], where)
    prompt = record.get("prompt") or record.get("question") or record.get("instruction")
    if isinstance(prompt, str) and prompt.strip():
        named = ("answer", "completion", "response", "output")
        answer = next((record[name] for name in named if record.get(name)), None)
        if answer is not None and not isinstance(answer, str):
            raise _bad_row(where, "has an answer that is no text")
        return Row(where, prompt.strip(), answer)
    if isinstance(record.get("text"), str) and record["text"].strip():
        return Row(where, text=record["text"])
    raise _bad_row(where, "has none of messages, prompt and text")


def _conversation(messages: list[Any], where: str) -> Row:
    """Optional system message, then user and assistant in turn; a last assistant message is the answer."""
    try:
        turns = [(str(message["role"]), message["content"]) for message in messages]
    except (TypeError, KeyError) as error:
        raise _bad_row(where, "has a message without role or content") from error
    if not all(isinstance(content, str) for _, content in turns):
        raise _bad_row(where, "has a message whose content is no text")
    system = turns.pop(0)[1] if turns and turns[0][0] == "system" else None
    answer = turns.pop()[1] if turns and turns[-1][0] == "assistant" else None
    roles = [role for role, _ in turns]
    if not turns or roles != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        raise _bad_row(where, "does not alternate between user and assistant")
    said = [content for _, content in turns]
    return Row(where, said[-1], answer, system, tuple(zip(said[:-1:2], said[1::2], strict=True)))


def _bad_row(where: str, what: str) -> InputError:
    return InputError(
        "bad_data", f"{where} {what}.", 'Give {"messages": […]}, {"prompt": …, "answer": …} or {"text": …}.'
    )


# examples


class Pair(NamedTuple):
    """The two models whose tokens are needed; ``same``: their tokens mean the same."""

    teacher: LanguageModel
    student: LanguageModel
    same: bool


def make_examples(rows: Sequence[Row], data: Data, pair: Pair, seed: int, emitter: Emitter, stage: str) -> Made:
    """Let the teacher answer where it has to, and turn rows into token ids with their supervised places.

    Raises InputError where most answers are degenerate, or nothing could be used.
    """
    counts: Counter[str] = Counter()
    answers: list[Generation | None] = [None] * len(rows)
    if data.answers == "teacher":
        answers = list(_answered(rows, data, pair.teacher, seed, emitter, stage))
        bad = [answer is not None and is_degenerate(answer.tokens) for answer in answers]
        counts["degenerate"] = sum(bad)
        if sum(bad) > TOO_MANY_DEGENERATE * len(rows):
            raise InputError(
                "degenerate_teacher",
                f"{sum(bad)} of {len(rows)} answers of the teacher are empty or repeat themselves.",
                "Check the teacher, its quantisation and data.temperature.",
            )
        kept = [(row, answer) for row, answer, broken in zip(rows, answers, bad, strict=True) if not broken]
    else:
        kept = list(zip(rows, answers, strict=True))
    limits = (data.max_tokens, pair.teacher.context_length, pair.student.context_length)
    longest = min(limit for limit in limits if limit)
    examples = []
    for row, answer in kept:
        example = make_example(row, answer, pair)
        if example is None:
            counts["mask_not_proved"] += 1
        elif max(len(example.ids), len(example.teacher_ids or ())) > longest:
            counts["too_long"] += 1
        elif not example.at:
            counts["nothing_to_predict"] += 1
        else:
            examples.append(example)
    if not examples:
        raise InputError(
            "no_data",
            f"None of {len(rows)} rows could be used ({', '.join(f'{n} {why}' for why, n in counts.items() if n)}).",
            "Raise data.max_tokens, or check the chat template with `python -m core inspect`.",
        )
    return Made(examples, dict(counts))


class Made(NamedTuple):
    examples: list[Example]
    counts: dict[str, int]


def _answered(
    rows: Sequence[Row], data: Data, teacher: LanguageModel, seed: int, emitter: Emitter, stage: str
) -> list[Generation | None]:
    """The teacher's answers; rows of plain text have none."""
    asked = [index for index, row in enumerate(rows) if row.text is None]
    texts = [_rendered(rows[index], teacher) for index in asked]
    task = "Teacher answers"

    def told(done: int) -> None:
        emitter.emit(Progress(f"{stage}/answers", task, done, len(texts), "answers"))

    told(0)
    said = teacher.generate(
        texts,
        max_new_tokens=data.answer_tokens,
        temperature=data.temperature,
        seed=seed,
        emitter=emitter,
        on_batch=told,
    )
    told(len(texts))
    found = dict(zip(asked, said, strict=True))
    return [found.get(index) for index in range(len(rows))]


def is_degenerate(tokens: Sequence[int]) -> bool:
    """Empty, or a loop: one run of four tokens makes up a quarter of a longer answer."""
    if len(tokens) < 2:
        return True
    runs = Counter(tuple(tokens[at : at + 4]) for at in range(len(tokens) - 3))
    return len(tokens) >= 16 and max(runs.values()) * 4 > len(tokens) / 4 and max(runs.values()) > 2


def _rendered(row: Row, lm: LanguageModel) -> str:
    return lm.render(row.prompt, system=row.system, history=row.history)


def tokenize(text: str, lm: LanguageModel) -> list[int]:
    """Rendered chat text holds its special tokens already; none are added."""
    return list(lm.tokenizer(text, add_special_tokens=not lm.has_template)["input_ids"])


def make_example(row: Row, answer: Generation | None, pair: Pair) -> Example | None:
    """One row with the teacher's ``answer`` (None for its own, or for plain text); None where it cannot be proved which
    tokens are the answer's."""
    teacher, student, same = pair
    prompt = "" if row.text is not None else _rendered(row, student)
    if answer is not None and same:
        # the very tokens that the teacher wrote, never tokenised again
        said = list(answer.tokens)
        head = tokenize(prompt, student)
        theirs = tokenize(_rendered(row, teacher), teacher)
        example = Example(row.key, prompt, head + said, list(range(len(head), len(head) + len(said))))
        if theirs != head:
            example.teacher_ids = theirs + said
            example.teacher_at = list(range(len(theirs), len(theirs) + len(said)))
        return example
    if answer is not None:
        row = row._replace(answer=answer.text)
    ended = answer is None or answer.finished
    if not same:
        return _aligned(row, ended, prompt, pair)
    mine = supervised(row, student, ended)
    if mine is None:
        return None
    example = Example(row.key, prompt, *mine)
    if row.text is not None or _rendered(row, teacher) == prompt:
        return example
    other = supervised(row, teacher, ended)
    if other is None or len(other[1]) != len(example.at):
        return None
    example.teacher_ids, example.teacher_at = other
    return example


def supervised(row: Row, lm: LanguageModel, ended: bool) -> tuple[list[int], list[int]] | None:
    """Token ids of a whole row and the places to predict: every answer and the end of its turn.

    Prompt, prompt + answer and the next prompt have to be prefixes of one another, as text and as tokens; else None.
    """
    if row.text is not None:
        words = list(lm.tokenizer(row.text)["input_ids"])
        start = lm.tokenizer.bos_token_id
        if start is not None and words[:1] != [start]:
            words = [start, *words]
        return words, list(range(1, len(words)))
    turns = [*row.history, (row.prompt, row.answer or "")]
    ids: list[int] = []
    at: list[int] = []
    for number, (question, answer) in enumerate(turns):
        prompt = lm.render(question, system=row.system, history=turns[:number])
        head, whole = tokenize(prompt, lm), tokenize(prompt + answer, lm)
        if head[: len(ids)] != ids or whole[: len(head)] != head:
            return None
        ids = whole
        at += range(len(head), len(whole))
        if number < len(turns) - 1:
            following = lm.render(turns[number + 1][0], system=row.system, history=turns[: number + 1])
            after = tokenize(following, lm)
            if not following.startswith(prompt + answer) or after[: len(ids)] != ids:
                return None
            if len(after) > len(ids) and after[len(ids)] in lm.stop_tokens:
                at.append(len(ids))
                ids = after[: len(ids) + 1]
    if ended:
        at.append(len(ids))
        ids = [*ids, lm.tokenizer.eos_token_id]
    return ids, at


def _aligned(row: Row, ended: bool, prompt: str, pair: Pair) -> Example | None:
    """The places where both tokenizers start a token at the same letter of the answer: there both models predict from
    the same text, although not the same tokens. The end of the turn is one more such place."""
    text = row.text if row.text is not None else row.answer or ""
    theirs, mine = (_cut(row, text, ended, lm) for lm in (pair.teacher, pair.student))
    letters = sorted(mine[1].keys() & theirs[1].keys())
    if not letters:
        return None
    at, teacher_at = ([places[letter] for letter in letters] for places in (mine[1], theirs[1]))
    return Example(row.key, prompt, mine[0], at, theirs[0], teacher_at)


def _cut(row: Row, text: str, ended: bool, lm: LanguageModel) -> tuple[list[int], dict[int, int]]:
    """Token ids of prompt and ``text``, and for each letter that starts a token its place. Pieces of one letter count
    once, by the first."""
    start = [] if lm.tokenizer.bos_token_id is None else [lm.tokenizer.bos_token_id]
    head = start if row.text is not None else tokenize(_rendered(row, lm), lm)
    cut = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = head + list(cut["input_ids"])
    places = {letter: len(head) + index for index, (letter, _) in reversed(list(enumerate(cut["offset_mapping"])))}
    if ended and row.text is None:
        places[len(text)] = len(ids)
        ids.append(lm.tokenizer.eos_token_id)
    return ids, {letter: place for letter, place in places.items() if place > 0}
