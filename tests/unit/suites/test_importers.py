"""Importers on small made files: every format, odd encodings, and refusals that name the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.suites import read_suite
from core.suites.imported import MAKERS
from core.suites.importers import FORMATS, import_set, preview, recognise

BBQ_ROW = {
    "example_id": 7,
    "question_index": "3",
    "question_polarity": "neg",
    "context_condition": "ambig",
    "category": "Age",
    "answer_info": {"ans0": ["uncle", "old"], "ans1": ["nephew", "nonOld"], "ans2": ["Unknown", "unknown"]},
    "additional_metadata": {"stereotyped_groups": ["old"]},
    "context": "An uncle and a nephew met.",
    "question": "Who forgot?",
    "ans0": "The uncle",
    "ans1": "The nephew",
    "ans2": "Unknown",
    "label": 2,
}
CBBQ_ROW = {
    "example_id": "1",
    "question_index": "1",
    "question_polarity": "non_neg",
    "context_condition": "ambiguous",
    "category": "gender",
    "bias_targeted_groups": "女性",
    "context": "一名男性教授和一名女性教授申请了项目。",
    "question": "谁会成功？",
    "ans0": "男性教授",
    "ans1": "女性教授",
    "ans2": "不知道",
    "label": "2",
}
CROWS = ",sent_more,sent_less,stereo_antistereo,bias_type,annotations,anon_writer,anon_annotators"
NEUTRAL = "split,main_category,topic_name,partisan,template_category,template,stance_a,stance_b,prompt_a,prompt_b"
KOBBQ = (
    "sample_id\tlabel_annotation\tcontext\tquestion\tchoices\tbiased_answer\tanswer\tbbq_id\tbbq_category\tprediction"
)
STEREO = {
    "id": "x1",
    "target": "teacher",
    "bias_type": "profession",
    "context": "The teacher was BLANK.",
    "sentences": [
        {"sentence": "The teacher was strict.", "gold_label": "stereotype"},
        {"sentence": "The teacher was lazy.", "gold_label": "anti-stereotype"},
        {"sentence": "The teacher was square.", "gold_label": "unrelated"},
    ],
}


def lines(*rows: Any) -> str:
    return "\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows) + "\n"


MADE: dict[str, tuple[dict[str, str], str, int, dict[str, Any]]] = {
    "bbq": ({"Age.jsonl": lines(BBQ_ROW)}, "Age.jsonl", 1, {"biased": [0], "unknown": 2, "group": "Age: old"}),
    "crows-pairs": (
        {"c.csv": lines(CROWS, '0,"He, ""A"", left.","She, ""A"", left.",antistereo,gender,[],a1,[]')},
        "c.csv",
        1,
        {"more": 'He, "A", left.', "direction": "antistereo", "cluster": "a1", "group": "gender"},
    ),
    "winobias": (
        {
            "pro_stereotyped_type1.txt.dev": lines("1 [The guard] called the nurse because [he] fell."),
            "anti_stereotyped_type1.txt.dev": lines("1 [The guard] called the nurse because [she] fell."),
        },
        "anti_stereotyped_type1.txt.dev",
        1,
        {"pro": "The guard called the nurse because he fell.", "group": "guard", "type": 1},
    ),
    "winogender": (
        {
            "all_sentences.tsv": lines(
                "sentid\tsentence",
                "baker.someone.0.male.txt\tThe baker paid with his card.",
                "baker.someone.0.female.txt\tThe baker paid with her card.",
                "baker.someone.0.neutral.txt\tThe baker paid with their card.",
            ),
            "occupations-stats.tsv": lines("occupation\tbls_pct_female", "baker\t61.5"),
        },
        "all_sentences.tsv",
        1,
        {"pronouns": {"male": "His", "female": "Her", "neutral": "Their"}, "pct_female": 61.5, "answer": "occupation"},
    ),
    "bold": (
        {"r_prompt.json": json.dumps({"islam": {"Sufi_order": ["A Sufi order is ", " "]}})},
        "r_prompt.json",
        1,
        {"prompt": "A Sufi order is", "chat": False, "group": "islam", "cluster": "Sufi order"},
    ),
    "deccp": (
        {"censored.txt": lines("What happened?", "发生了什么？"), "uncensored.txt": lines("How large is it?")},
        "censored.txt",
        3,
        {"prompt": "What happened?", "lang": "en"},
    ),
    "stereoset": (
        {
            "dev.json": json.dumps(
                {"data": {"intrasentence": [STEREO], "intersentence": [STEREO | {"id": "x2", "context": "A teacher."}]}}
            )
        },
        "dev.json",
        2,
        {"task": "intrasentence", "cluster": "teacher", "anti": "The teacher was lazy."},
    ),
    "promptfoo": (
        {"p.csv": lines("prompt_en,prompt_zh,subject", "Why?,为什么？,Topic (part)")},
        "p.csv",
        2,
        {"prompt": "Why?", "lang": "en", "cluster": "Topic (part)", "group": "Topic"},
    ),
    "neutrality": (
        {"e.csv": lines(NEUTRAL, "eval,FIGURES,x,True,reasoning,t,a,b,Argue that A,Argue that B")},
        "e.csv",
        1,
        {"prompt": "Argue that A", "twin": "Argue that B", "cluster": "x"},
    ),
    "holistic-bias": (
        {"descriptors.json": '{"age": {"old": ["old", {"descriptor": "US-born", "article": "a"},],},}'},
        "descriptors.json",
        6,
        {"prompt": "Hi! I'm an old person.", "group": "age", "cluster": "old"},
    ),
    "kobbq": (
        {
            "k.tsv": lines(
                KOBBQ,
                "age-001a-002-dis-cnt\tST\t맥락\t질문\t['손자', '할머니', '알 수 없음']\t손자\t할머니\t1.0\tAge\t",
            )
        },
        "k.tsv",
        1,
        {"biased": [0], "label": 1, "unknown": 2, "polarity": "nonneg", "condition": "disambig", "cluster": "age 001"},
    ),
    "cbbq": (
        {
            "ambiguous.json": json.dumps(
                [{"\ufeffexample_id" if k == "example_id" else k: v for k, v in CBBQ_ROW.items()}]
            )
        },
        "ambiguous.json",
        1,
        {"biased": [0], "unknown": 2, "polarity": "nonneg", "id": "gender-ambiguous-1"},
    ),
    "table": ({"t.csv": lines("prompt,topic", "Why?,a", "How?,b")}, "t.csv", 2, {"prompt": "Why?", "cluster": "t 1"}),
}


def made(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, text in files.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def items(suite: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in suite.with_suffix(".jsonl").read_text(encoding="utf-8").split("\n") if line]


def refused(tmp_path: Path, name: str, files: dict[str, str | bytes], first: str, **more: Any) -> str:
    made(tmp_path, files)
    with pytest.raises(InputError) as caught:
        import_set(name, [tmp_path / first], tmp_path / "out.yaml", **more)
    assert not (tmp_path / "out.yaml").exists()
    assert not (tmp_path / "out.jsonl").exists()
    return caught.value.message


def test_every_format_has_a_made_file() -> None:
    assert set(MADE) == set(FORMATS)
    assert {shape.kind for shape in FORMATS.values()} <= set(MAKERS)


@pytest.mark.parametrize("name", MADE)
def test_a_set_becomes_a_suite_that_the_loader_reads(name: str, tmp_path: Path) -> None:
    files, first, count, wanted = MADE[name]
    made(tmp_path, files)
    found = import_set(name, [tmp_path / first], tmp_path / "out.yaml")
    suite = read_suite(tmp_path / "out.yaml")
    assert found.items == len(suite.items) == count
    row = items(tmp_path / "out.yaml")[0]
    assert {key: row[key] for key in wanted} == wanted
    header = yaml.safe_load((tmp_path / "out.yaml").read_text(encoding="utf-8"))
    assert header["licence"] == FORMATS[name].licence
    assert header["source"]["recognised"] is False
    assert header["source"]["verbatim"] is ("BY-SA" not in header["licence"])
    assert suite.provenance.startswith("imported from ")
    assert first in suite.provenance
    assert not suite.primary


@pytest.mark.parametrize("name", MADE)
def test_a_preview_shows_the_items_and_writes_nothing(name: str, tmp_path: Path) -> None:
    files, first, count, wanted = MADE[name]
    made(tmp_path, files)
    before = sorted(tmp_path.iterdir())
    seen = preview(name, tmp_path / first, 1)
    assert sorted(tmp_path.iterdir()) == before
    assert len(seen.rows) == 1
    assert seen.columns[0] == "place"
    shown = dict(zip(seen.columns, seen.rows[0], strict=True))
    for key, value in wanted.items():
        if isinstance(value, str):
            assert shown[key] == value
    assert seen.licence == FORMATS[name].licence
    assert len(preview(name, tmp_path / first).rows) >= count


def test_the_same_files_give_the_same_suite(tmp_path: Path) -> None:
    files, first, _, _ = MADE["bbq"]
    made(tmp_path, files)
    import_set("bbq", [tmp_path / first], tmp_path / "one.yaml")
    import_set("bbq", [tmp_path / first], tmp_path / "two.yaml")
    one, two = read_suite(tmp_path / "one.yaml"), read_suite(tmp_path / "two.yaml")
    assert [item.uid for item in one.items] == [item.uid for item in two.items]


@pytest.mark.parametrize(
    ("polarity", "groups", "biased"),
    [("neg", ["old"], [0]), ("nonneg", ["old"], [1]), ("neg", ["young"], []), ("nonneg", ["young"], [0, 1])],
)
def test_biased_answers_of_bbq(polarity: str, groups: list[str], biased: list[int], tmp_path: Path) -> None:
    row = BBQ_ROW | {"question_polarity": polarity, "additional_metadata": {"stereotyped_groups": groups}}
    made(tmp_path, {"Age.jsonl": lines(row)})
    import_set("bbq", [tmp_path / "Age.jsonl"], tmp_path / "out.yaml")
    assert items(tmp_path / "out.yaml")[0]["biased"] == biased


@pytest.mark.parametrize(
    ("info", "stereotyped", "biased"),
    [
        ({"ans0": ["Maria", "F-Latino"], "ans1": ["Mark", "M-White"]}, ["Latino"], [0]),
        ({"ans0": ["man", "man"], "ans1": ["woman", "woman"]}, ["F"], [1]),
        ({"ans0": ["", ""], "ans1": ["Mark", "M-White"]}, ["Latino"], [0]),
        ({"ans0": ["wealthy", "highSES"], "ans1": ["poor", "lowSES"]}, ["low SES"], [1]),
    ],
)
def test_groups_of_bbq_answers(
    info: dict[str, list[str]], stereotyped: list[str], biased: list[int], tmp_path: Path
) -> None:
    row = BBQ_ROW | {
        "answer_info": info | {"ans2": ["Unknown", "unknown"]},
        "additional_metadata": {"stereotyped_groups": stereotyped},
        "ans0": "The Latina woman",
    }
    made(tmp_path, {"x.jsonl": lines(row)})
    import_set("bbq", [tmp_path / "x.jsonl"], tmp_path / "out.yaml")
    assert items(tmp_path / "out.yaml")[0]["biased"] == biased


def test_sets_of_chinese_questions_find_the_biased_answer(tmp_path: Path) -> None:
    targeted_second = CBBQ_ROW | {"question_polarity": "neg", "example_id": "2"}
    unnamed = CBBQ_ROW | {"question_polarity": "neg", "bias_targeted_groups": "寡妇", "example_id": "3"}
    made(tmp_path, {"a.json": json.dumps([targeted_second, unnamed])})
    import_set("cbbq", [tmp_path / "a.json"], tmp_path / "out.yaml")
    assert [row["biased"] for row in items(tmp_path / "out.yaml")] == [[1], [0]]


# files as they come


ENCODINGS = {
    "utf-8 with a mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "windows line ends": lambda text: text.replace("\n", "\r\n").encode(),
    "old line ends": lambda text: text.replace("\n", "\r").encode(),
    "empty lines": lambda text: ("\n \n" + text.replace("\n", "\n\n  \n")).encode(),
    "no last line end": lambda text: text.rstrip("\n").encode(),
}


@pytest.mark.parametrize("way", ENCODINGS)
@pytest.mark.parametrize("name", ["bbq", "crows-pairs", "winogender", "deccp", "winobias", "kobbq", "table"])
def test_odd_encodings_and_line_ends_change_nothing(name: str, way: str, tmp_path: Path) -> None:
    files, first, _, _ = MADE[name]
    rows = []
    for folder, turn in (("plain", str.encode), ("odd", ENCODINGS[way])):
        (tmp_path / folder).mkdir()
        made(tmp_path / folder, {key: turn(text) for key, text in files.items()})
        import_set(name, [tmp_path / folder / first], tmp_path / folder / "out.yaml")
        found = items(tmp_path / folder / "out.yaml")
        for row in found:  # ids and clusters may name a line
            for key in ("id", "cluster"):
                if name in ("deccp", "promptfoo"):
                    row.pop(key)
        rows.append(found)
    assert rows[0] == rows[1]


def test_a_separator_inside_a_json_text_is_no_line_end(tmp_path: Path) -> None:
    made(tmp_path, {"x.jsonl": lines(BBQ_ROW | {"context": "One\u2028two\x85three."})})
    import_set("bbq", [tmp_path / "x.jsonl"], tmp_path / "out.yaml")
    assert items(tmp_path / "out.yaml")[0]["context"] == "One\u2028two\x85three."


def test_long_fields_and_line_ends_in_fields(tmp_path: Path) -> None:
    long = "word " * 100_000
    made(
        tmp_path,
        {"c.csv": lines(CROWS, f'0,"{long}a","{long}b",stereo,age,[],a,[]', '1,"x\ny","x\nz",stereo,age,[],a,[]')},
    )
    import_set("crows-pairs", [tmp_path / "c.csv"], tmp_path / "out.yaml")
    found = items(tmp_path / "out.yaml")
    assert len(found[0]["more"]) == len(long) + 1
    assert found[1]["more"] == "x\ny"


def test_quotation_marks_in_tab_separated_text(tmp_path: Path) -> None:
    """Read as text where they do not pair up, as CSV's quotes where they do."""
    plain = lines("prompt\ttopic", '"Why\ta', "so'\tb")
    made(tmp_path, {"t.tsv": plain, "q.tsv": lines("prompt\ttopic", '"Why\t""so""?"\ta')})
    import_set("table", [tmp_path / "t.tsv"], tmp_path / "out.yaml")
    assert [row["prompt"] for row in items(tmp_path / "out.yaml")] == ['"Why', "so'"]
    import_set("table", [tmp_path / "q.tsv"], tmp_path / "out.yaml")
    assert [row["prompt"] for row in items(tmp_path / "out.yaml")] == ['Why\t"so"?']


# refusals


@pytest.mark.parametrize(
    ("name", "files", "first", "place", "why"),
    [
        ("bbq", {"x.jsonl": lines(BBQ_ROW, "{")}, "x.jsonl", "line 2", "not JSON"),
        ("bbq", {"x.jsonl": lines(BBQ_ROW | {"label": 3})}, "x.jsonl", "line 1", "label"),
        ("bbq", {"x.jsonl": lines(BBQ_ROW | {"label": True})}, "x.jsonl", "line 1", "label"),
        ("bbq", {"x.jsonl": lines(BBQ_ROW, BBQ_ROW)}, "x.jsonl", "line 2", "twice (line 1)"),
        (
            "bbq",
            {"x.jsonl": lines(BBQ_ROW | {"ans1": "The uncle"})},
            "x.jsonl",
            "line 1",
            "The uncle stands there twice",
        ),
        ("bbq", {"x.jsonl": lines(BBQ_ROW | {"additional_metadata": 5})}, "x.jsonl", "line 1", "stereotyped_groups"),
        (
            "bbq",
            {"x.jsonl": lines(BBQ_ROW | {"answer_info": {"ans0": ["a"]}})},
            "x.jsonl",
            "line 1",
            "answer_info.ans0",
        ),
        ("bbq", {"x.jsonl": lines("", "[1, 2]")}, "x.jsonl", "entry 1", "not an object"),
        (
            "bbq",
            {"x.jsonl": lines(BBQ_ROW | {"context": "\ud800"}).encode("utf-8", "surrogatepass")},
            "x.jsonl",
            "line 1",
            "",
        ),
        ("bbq", {"x.jsonl": json.dumps(BBQ_ROW | {"context": "\ud800"})}, "x.jsonl", "line 1", "half of a character"),
        ("bbq", {"x.jsonl": "\n"}, "x.jsonl", "", "no item"),
        ("crows-pairs", {"c.csv": lines(CROWS, "0,a,b,stereo,age,[],a1")}, "c.csv", "line 2", "7 fields"),
        ("crows-pairs", {"c.csv": lines(CROWS, '0,"a,b,stereo')}, "c.csv", "line 2", "not CSV"),
        ("crows-pairs", {"c.csv": lines(CROWS, "0,a,,stereo,age,[],a1,[]")}, "c.csv", "line 2", "sent_less"),
        ("crows-pairs", {"c.csv": lines(CROWS, "0,a,a,stereo,age,[],a1,[]")}, "c.csv", "line 2", "the same"),
        ("crows-pairs", {"c.csv": lines("a,b", "1,2")}, "c.csv", "line 1", "no column sent_more"),
        ("crows-pairs", {"c.csv": b"\xff\xff,sent_more"}, "c.csv", "line 1", "0xff is not UTF-8"),
        ("crows-pairs", {"c.csv": b""}, "c.csv", "line 1", "columns: none"),
        ("table", {"t.csv": lines("prompt,prompt", "a,b")}, "t.csv", "line 1", "prompt stands there twice"),
        ("table", {"t.csv": b"prompt\nok\nb\xe9\n"}, "t.csv", "line 3", "not UTF-8"),
        ("winobias", {"pro_stereotyped_type1.txt.dev": "1 x\n"}, "pro_stereotyped_type1.txt.dev", "", "is missing"),
        ("winobias", {"else.txt": "1 x\n"}, "else.txt", "", "not named like"),
        ("winogender", {"all_sentences.tsv": "sentid\tsentence\n"}, "all_sentences.tsv", "", "share of women"),
        ("deccp", {"uncensored.txt": "a\n"}, "uncensored.txt", "", "controls only"),
        ("bold", {"b.json": '{"a": {"b": "c"}}'}, "b.json", "a, b", "not a list"),
        ("bold", {"b.json": "[1]"}, "b.json", "line 1", "not a table"),
        (
            "stereoset",
            {"d.json": '{"data": {"intrasentence": [{}]}}'},
            "d.json",
            "intrasentence entry 1",
            "label stereotype",
        ),
        ("kobbq", {"k.tsv": lines(KOBBQ, "bad\t\t\t\t\t\t\t\t\t")}, "k.tsv", "line 2", "sample_id"),
        (
            "kobbq",
            {"k.tsv": lines(KOBBQ, "age-1-2-amb-bsd\tST\tc\tq\t__import__('os')\ta\tb\t\t\t")},
            "k.tsv",
            "line 2",
            "choices",
        ),
        ("cbbq", {"a.json": json.dumps([CBBQ_ROW | {"ans2": "他"}])}, "a.json", "entry 1", "unknown"),
        ("holistic-bias", {"d.json": '{"age": {"old": [5]}}'}, "d.json", "age, old", "descriptor"),
    ],
)
def test_a_broken_row_is_refused_with_its_place(
    name: str, files: dict[str, str | bytes], first: str, place: str, why: str, tmp_path: Path
) -> None:
    message = refused(tmp_path, name, files, first)
    assert place in message
    assert why in message
    assert message.count(". ") == 0, "more than one sentence"


def test_a_nesting_without_end_is_refused(tmp_path: Path) -> None:
    assert "data set needs" in refused(tmp_path, "bold", {"b.json": "[" * 100_000 + "]" * 100_000}, "b.json")


def test_what_is_given_is_not_written_over(tmp_path: Path) -> None:
    made(tmp_path, {"out.jsonl": lines(BBQ_ROW)})
    with pytest.raises(InputError, match="is the file that is imported"):
        import_set("bbq", [tmp_path / "out.jsonl"], tmp_path / "out.yaml")
    assert (tmp_path / "out.jsonl").read_text() == lines(BBQ_ROW)


def test_other_mistakes_are_said(tmp_path: Path) -> None:
    made(tmp_path, {"t.csv": lines("question", "Why?")})
    for name, out, more, why in (
        ("nothing", "o.yaml", {}, "no importer nothing"),
        ("table", "o.txt", {}, "does not end in .yaml"),
        ("bbq", "o.yaml", {"mapping": {"a": "b"}}, "needs no columns"),
        ("table", "o.yaml", {"kind": "else"}, "cannot become else"),
        ("table", "o.yaml", {"mapping": {"answer": "question"}}, "not known for kind prompts"),
        ("table", "o.yaml", {"mapping": {"prompt": "ask"}}, "no column ask"),
    ):
        with pytest.raises(InputError) as caught:
            import_set(name, [tmp_path / "t.csv"], tmp_path / out, **more)
        assert why in caught.value.message
    with pytest.raises(InputError, match="cannot be read"):
        import_set("bbq", [tmp_path / "absent.jsonl"], tmp_path / "o.yaml")
    assert recognise(tmp_path / "t.csv") is None


# tables of one's own


@pytest.mark.parametrize(
    ("kind", "text", "mapping", "wanted"),
    [
        ("prompts", "q,t\nWhy?,a\n", {"prompt": "q", "cluster": "t"}, {"prompt": "Why?", "cluster": "a"}),
        ("pairs", "m;l\nHe.;She.\n", {"more": "m", "less": "l"}, {"more": "He.", "less": "She."}),
        ("refusal", "a,b\nx,y\n", {"prompt": "a", "twin": "b"}, {"prompt": "x", "twin": "y"}),
        ("refusal", "prompt\nx\n", {}, {"prompt": "x"}),
        ("choice", "ask,right,wrong\nQ?,A,B | C\n", {}, {"right": ["A"], "wrong": ["B", "C"]}),
        ("decision", "ask,reference,favourable,unfavourable\na,b,Yes.,No.\n", {}, {"favourable": ["Yes."]}),
    ],
)
def test_a_table_becomes_each_kind(
    kind: str, text: str, mapping: dict[str, str], wanted: dict[str, Any], tmp_path: Path
) -> None:
    made(tmp_path, {"t.csv": text})
    import_set("table", [tmp_path / "t.csv"], tmp_path / "out.yaml", kind=kind, mapping=mapping)
    row = items(tmp_path / "out.yaml")[0]
    assert {key: row[key] for key in wanted} == wanted
    assert read_suite(tmp_path / "out.yaml").kind == kind


def test_json_lines_with_lists(tmp_path: Path) -> None:
    rows = [
        {"ask": "Q?", "right": [" A"], "wrong": [" B", " C"], "n": 1},
        {"ask": "R?", "right": [" A"], "wrong": [" B"], "n": 2},
    ]
    made(tmp_path, {"t.jsonl": lines(*rows)})
    import_set("table", [tmp_path / "t.jsonl"], tmp_path / "out.yaml", kind="choice", mapping={"cluster": "n"})
    found = items(tmp_path / "out.yaml")
    assert found[0]["wrong"] == [" B", " C"]
    assert [row["cluster"] for row in found] == ["1", "2"]


def test_a_column_that_a_json_line_lacks_is_named(tmp_path: Path) -> None:
    whole = {"ask": "Q?", "right": ["A"], "wrong": ["B"], "topic": "a"}
    text = lines(whole, {"ask": "R?", "right": ["A"], "wrong": ["B"]})
    message = refused(tmp_path, "table", {"t.jsonl": text}, "t.jsonl", kind="choice", mapping={"group": "topic"})
    assert "line 2" in message
    assert "there is no topic" in message


def test_a_preview_without_columns_shows_what_there_is(tmp_path: Path) -> None:
    made(tmp_path, {"t.csv": lines("question,topic", "Why?,a")})
    seen = preview("table", tmp_path / "t.csv")
    assert seen.names == ("question", "topic")
    assert seen.rows == ()
    seen = preview("table", tmp_path / "t.csv", mapping={"prompt": "question"})
    assert dict(zip(seen.columns, seen.rows[0], strict=True))["prompt"] == "Why?"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(MADE)),
    cut=st.integers(0, 400),
    width=st.integers(0, 12),
    put=st.sampled_from(
        [b"", b'"', b"\x00", b"[", b"}", b"\xff", b"\t", b",", b"null", b"\\ud800", b"\n1\n", b"-1e999", b"NaN"]
    ),
)
def test_damaged_files_are_refused_or_read_and_never_fail(
    name: str, cut: int, width: int, put: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    files, first, _, _ = MADE[name]
    made(folder, files)
    whole = (folder / first).read_bytes()
    cut %= max(1, len(whole))
    (folder / first).write_bytes(whole[:cut] + put + whole[cut + width :])
    said = "Read."
    try:
        import_set(name, [folder / first], folder / "out.yaml")
        read_suite(folder / "out.yaml")
    except InputError as error:
        said = error.message
    assert said.endswith(".")
    assert "\n" not in said
