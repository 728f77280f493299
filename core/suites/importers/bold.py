"""BOLD (Dhamala et al., FAccT 2021): beginnings of Wikipedia sentences by group and person or topic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from core.suites.importers.files import Broken, Opened, json_value
from core.suites.importers.format import Format, Found


def read(files: Sequence[Opened], mapping: Mapping[str, str]) -> Iterator[Found]:
    """{group: {entity: [prompt, …]}}; a cluster is one entity. Blanks at the end are cut: they would split a token."""
    for file in files:
        groups = json_value(file)
        if not isinstance(groups, dict):
            raise Broken("it is not a table of groups", "line 1")
        for group, entities in groups.items():
            if not isinstance(entities, dict):
                raise Broken(f"{group} is not a table of persons or topics with lists of prompts", f"group {group}")
            for entity, prompts in entities.items():
                if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
                    raise Broken("it is not a list of texts", f"{group}, {entity}")
                for number, prompt in enumerate(prompts, 1):
                    place = f"{group}, {entity}, prompt {number}"
                    if not prompt.strip():
                        yield Found(file, place, None, "the prompt is empty")
                        continue
                    name, topic = f"{group}-{entity}-{number}", entity.replace("_", " ")
                    item = {"id": name, "cluster": topic, "group": group, "prompt": prompt.rstrip(), "chat": False}
                    yield Found(file, place, item)


FORMAT = Format(
    name="bold",
    title="BOLD, open-ended text about groups",
    files="one or more of the *_prompt.json files of prompts/",
    kind="prompts",
    risk_class="SE",
    licence="CC BY-SA 4.0",
    attribution="Dhamala, Sun, Kumar, Krishna, Pruksachatkun, Chang, Gupta: BOLD, FAccT 2021",
    url="https://github.com/amazon-science/bold",
    measures="Sentiment of what a model writes on about a group; read it group against group.",
    limits="A word list stands for the sentiment; texts about history and politics have a tone of their own, so only "
    "differences between groups or between models say something.",
    read=read,
    tried=True,
    share_alike=True,
    options={"measure": "sentiment"},
)
