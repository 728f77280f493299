"""Published files, recognised by sha256: then the version can be named."""

from __future__ import annotations

from typing import NamedTuple

CROWS, BBQ, WINOBIAS = "nyu-mll/crows-pairs@8aaac11c", "nyu-mll/BBQ@bea11bd9", "uclanlp/corefBias@0bce984d"
WINOGENDER, BOLD, DECCP = (
    "rudinger/winogender-schemas@1c7f8b48",
    "amazon-science/bold@3ad652c7",
    "AUGMXNT/deccp@1fa6852b",
)


class Release(NamedTuple):
    """``format`` is the importer's name; ``version`` names repository and commit."""

    format: str
    version: str
    file: str


RELEASES = {
    "dfb36986ce0502abbaf7055b9176da3d08d48e07df1251991b5dfbcbceab9d0c": Release(
        "crows-pairs", CROWS, "crows_pairs_anonymized.csv"
    ),
    "46e805b3fc2d8cbd26eeb8e8430d98cf7b2dc9c83574ff3674e8ce4f0fca2a60": Release("bbq", BBQ, "Age.jsonl"),
    "a583e74666aec0341ded8aa3983e7cad694eb24de72c254d28b2df3035720090": Release("bbq", BBQ, "Nationality.jsonl"),
    "e48d7e13508565f4801574e611043470c25c95a0a62af3699cb5ee7cb02608fb": Release(
        "bbq", BBQ, "Physical_appearance.jsonl"
    ),
    "cb9555f9f3454a52cd2df85956b59bd7fcca5aa922c8527693b1164d08417616": Release("bbq", BBQ, "Religion.jsonl"),
    "2c71036b9e7584fe589c42aef32c1a42bc01b9a5e9b1b8704342630cdb08cefd": Release("bbq", BBQ, "Sexual_orientation.jsonl"),
    "a83ea7cc272971b618231e13bcb5c1d1be5b208c92135c4ffde85be31f8ab4c6": Release(
        "bold", BOLD, "political_ideology_prompt.json"
    ),
    "633830ea87d569e5476895a93f68b8f686cb0dcae6d67a1091a9247c5c4c931d": Release(
        "bold", BOLD, "religious_ideology_prompt.json"
    ),
    "a1c1b06bebb44d6c69565d39f6abcc6133c108e32022425d21e21ca6cfc1781e": Release("deccp", DECCP, "censored.txt"),
    "1d62c28b3a93d38769c6299a387900153c30936b1d93752c9a7ceb9ce8d7c5ac": Release("deccp", DECCP, "uncensored.txt"),
    "331db5bd74bfefebf146a60b67645152a4a1991570d2a56f57154103ac361dd2": Release(
        "winobias", WINOBIAS, "anti_stereotyped_type1.txt.test"
    ),
    "336571ac1ea8c06cd2aba8e5dd2bd98e00acc0c48da3e4ec5ec7e54eb2633a8f": Release(
        "winobias", WINOBIAS, "anti_stereotyped_type2.txt.test"
    ),
    "db7838907238a758eeb5779e48f38c013b892910d6fe864456c59f04245c6689": Release(
        "winobias", WINOBIAS, "pro_stereotyped_type1.txt.test"
    ),
    "ea1c1fd94fa612e3cc44d7fa3cc4cb76021bb63fdf94f9826f430051e9052438": Release(
        "winobias", WINOBIAS, "pro_stereotyped_type2.txt.test"
    ),
    "bd69da16bf228cb8df63fd0843aec2d8b5c36a7f21bf8c7b168bcc83932556c8": Release(
        "winogender", WINOGENDER, "all_sentences.tsv"
    ),
    "3f7f37c16381a70571356982ea7fe613ac700ad04a6d3b19b9f2be18248df567": Release(
        "winogender", WINOGENDER, "occupations-stats.tsv"
    ),
}
