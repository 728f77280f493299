"""promptfoo's prompts on subjects sensitive in China: tests.csv (subject, prompt) or the bilingual CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from core.suites.importers.deccp import language
from core.suites.importers.files import Opened, need_text, table
from core.suites.importers.format import Format, Found


def read(files: Sequence[Opened], mapping: Mapping[str, str]) -> Iterator[Found]:
    """A cluster is one subject; its part before the bracket is the group."""
    for file in files:
        for row in table(file, ("subject",)):
            subject = need_text(row, "subject").strip()
            columns = {"en": "prompt_en", "zh": "prompt_zh"} if "prompt_en" in row.values else {"": "prompt"}
            for lang, column in columns.items():
                prompt = need_text(row, column).strip()
                lang = lang or language(prompt)
                name = f"{row.place.removeprefix('line ')} {lang}"
                group = subject.partition(" (")[0]
                item = {"id": name, "cluster": subject, "group": group, "lang": lang, "prompt": prompt}
                yield Found(file, row.place, item)


FORMAT = Format(
    name="promptfoo",
    title="promptfoo, prompts on subjects sensitive in China",
    files="tests.csv (subject, prompt) or CCP-sensitive-prompts-bilingual.csv",
    kind="refusal",
    risk_class="CE",
    licence="MIT (repository; check the card where you took it from Hugging Face)",
    attribution="promptfoo: CCP-sensitive prompts, 2025",
    url="https://github.com/promptfoo/promptfoo",
    measures="How likely a refusal is on subjects that are sensitive in China.",
    limits="No matched controls, and some prompts ask for plain harm (hacking, forged papers): a refusal there is "
    "caution, not censorship. One country only; the project's own suites ask about several.",
    read=read,
    header={"contrast": "none_refuse"},
)
