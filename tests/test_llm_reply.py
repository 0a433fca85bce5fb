"""From a model's text to designs: a corpus of broken replies, and hypothesis on top of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from envgen_exp.families.crafter.design import VOCABULARY, CrafterDesign
from envgen_exp.families.crafter.upstream import SKILLS
from envgen_exp.families.design import Design
from envgen_exp.families.heist.design import SKILLS as HEIST_SKILLS
from envgen_exp.families.heist.design import VOCABULARY as HEIST
from envgen_exp.families.heist.design import HeistDesign
from envgen_exp.families.reading import Reader
from envgen_exp.llm import lenient
from envgen_exp.llm.prompt import Wording
from envgen_exp.llm.reply import MAX_CHARACTERS, Reply, parse_reply

CORPUS = sorted((Path(__file__).parent / "replies").glob("*.txt"))
PLAIN = Wording.plain(VOCABULARY)


def read(text: str, count: int = 2, finish: str = "stop", wording: Wording = PLAIN) -> Reply:
    return parse_reply(text, wording, CrafterDesign, SKILLS, count, finish=finish)


def plain(design: Design | None) -> dict[str, Any] | None:
    """What a design says beyond its defaults."""
    if design is None:
        return None
    return {k: v for k, v in design.model_dump(mode="json").items() if v not in ("", []) and v != DEFAULTS.get(k)}


DEFAULTS = {setting.name: setting.default for setting in VOCABULARY}


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 100


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.stem)
def test_corpus(file: Path) -> None:
    """Each file holds what its reply must become, then the reply: nothing but the expected designs, notes, problems."""
    head, text = file.read_bytes().decode("utf-8", "surrogatepass").split("\n=====\n", 1)
    expected = json.loads(head)
    reply = read(text, expected.get("count", 2), expected.get("finish", "stop"))
    assert [plain(design) for design in reply.designs] == expected["designs"]
    problems = [str(problem) for problem in reply.problems]
    for found, parts in ((reply.notes, expected["notes"]), (problems, expected["problems"])):
        assert len(found) == len(parts), found
        for text, part in zip(found, parts, strict=True):
            assert part in text


# Any text

GOOD = (Path(__file__).parent / "replies" / "plain.txt").read_text().split("\n=====\n", 1)[1]
PIECES = [
    *"{}[]()\"'`:,;=#\\",
    "//",
    "/*",
    "*/",
    "\n",
    " ",
    "“",
    "”",
    "...",
    "null",
    "True",
    "-1e999",
    "\\u00",
    "<think>",
    "</think>",
    "```json\n",
    '"designs": [',
    '"target_biome": ',
    '"mountain"',
    "starting_wood",
    '{"purpose": "x", ',
    "\ud800",
    "\x00",
]


def check_whole(reply: Reply, count: int) -> None:
    """What holds for the reading of any text."""
    assert len(reply.designs) == count
    for design in reply.designs:
        assert design is None or isinstance(design, CrafterDesign)
        assert design is None or design.purpose.isprintable()
    assert all(design is not None for design in reply.designs) or reply.problems
    for text in (*reply.notes, *map(str, reply.problems)):
        assert text
        assert "\n" not in text
        text.encode()


@settings(deadline=None)
@given(st.text(max_size=400), st.integers(1, 8))
def test_any_text(text: str, count: int) -> None:
    check_whole(read(text, count), count)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_any_soup_of_pieces(text: str) -> None:
    check_whole(read(text), 2)


@st.composite
def mutilated(draw: st.DrawFn) -> str:
    """A good reply with parts cut out, doubled or replaced."""
    text = GOOD
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        text = text[:start] + draw(st.sampled_from([*PIECES, "", text[start:end] * 2])) + text[end:]
    return text


@settings(max_examples=400, deadline=None)
@given(mutilated())
def test_any_mutilation_of_a_good_reply(text: str) -> None:
    check_whole(read(text), 2)


SETTING_VALUES = {
    setting.name: st.sampled_from(setting.choices) if setting.choices else st.integers(setting.low, setting.high)
    for setting in VOCABULARY
}
DESIGNS = st.builds(
    lambda chosen, targets: CrafterDesign(targets=tuple(targets), **chosen),
    st.fixed_dictionaries({}, optional=SETTING_VALUES),
    st.lists(st.sampled_from(SKILLS), unique=True, max_size=3),
)


@settings(deadline=None)
@given(st.lists(DESIGNS, min_size=1, max_size=5), st.booleans())
def test_every_design_is_read_as_it_was_written(designs: list[Design], hidden: bool) -> None:
    """JSON, Python's spelling, and the paper's ablation: its words without meaning are undone."""
    wording = Wording.obfuscated(VOCABULARY) if hidden else PLAIN
    written = [{"targets": list(d.targets), **wording.show(d.settings())} for d in designs]
    for text in (json.dumps({"designs": written}), str(written), "So: " + json.dumps(written, indent=2)):
        reply = read(text, len(designs), wording=wording)
        assert reply.designs == tuple(designs)
        assert not reply.problems


def test_hidden_words_share_nothing_with_the_plain_ones() -> None:
    hidden = Wording.obfuscated(VOCABULARY)
    text = " ".join(f"{s.name} {s.doc} {' '.join(s.choices)}" for s in hidden.settings)
    for setting in VOCABULARY:
        for word in (setting.name, *setting.choices):
            assert word not in text


@pytest.mark.parametrize(
    "piece", [*PIECES, "{'a", '["', "[[[", '{"a":', "'//", '"/*', "a=", "{a,", '\\"', "{}", "[1,", "x: "]
)
def test_no_text_takes_long(piece: str) -> None:
    """The longest text that is read, made of one piece again and again; a quadratic parser would take minutes."""
    size = MAX_CHARACTERS // len(piece)
    start = time.process_time()
    for text in (piece * size, '{"designs": [' + piece * (size - 20), '{"purpose": "' + piece * (size - 20)):
        check_whole(read(text), 2)
    assert time.process_time() - start < 3.0


FRAGMENTS = [
    *"{}[]()\"'`“”:,;=#\\/\n \t.-+_",
    *("1", "12345678", "1.", "1e9", "x", "word", "design", "env", "world", "null", "é", "٣", "\x00"),
    *(
        "//",
        "/*",
        "*/",
        "<think>",
        "</think>",
        "```json",
        '{"a": ',
        '"designs": [',
        "'a' ",
        '{"a',
        "[a=",
        "\\u00",
    ),
]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4).map("".join),
    st.sampled_from(["%s", '{"designs": [%s', '{"%s": {"starting_wood": 1}}', "{'starting_wood': %sx}"]),
)
@example("1", "{'starting_wood': %sx}")
@example("env", '{"%s": {"starting_wood": 1}}')
@example("a=", "{%s")
def test_twice_the_text_takes_at_most_three_times_as_long(piece: str, frame: str) -> None:
    """Whatever is repeated: the reader is linear. Below some milliseconds there is nothing to compare."""

    def seconds(size: int) -> float:
        text = frame.replace("%s", piece * (size // len(piece)))
        taken = []
        for _ in range(3):
            start = time.process_time()
            read(text)
            taken.append(time.process_time() - start)
            if taken[-1] < 0.01:
                break
        return min(taken)

    assert seconds(16_000) <= 3 * max(seconds(8_000), 0.01)


# Nothing is lost

GROUPS = Reader(VOCABULARY, SKILLS).groups
WRAPPERS = ["settings", "config", "environment_settings", "inventory_settings", "world", "rarity", "designs"]
LEAVES = st.one_of(st.integers(0, 12), st.sampled_from(["rare", "mountain", "some other", "a remark of five words"]))


@st.composite
def nested(draw: st.DrawFn, depth: int = 3) -> dict[str, Any]:
    """An object of settings, groups, labels and unknown names, each unknown name once."""
    names = st.one_of(
        st.sampled_from([*DEFAULTS, "wood", "coal", "purpose", "name", "environment 1", "answer", *WRAPPERS]),
        st.integers(100, 999).map("q{}z".format),
    )
    inner = st.one_of(LEAVES, LEAVES, nested(depth - 1), st.lists(nested(depth - 1), max_size=2)) if depth else LEAVES
    return draw(st.dictionaries(names, inner, min_size=1, max_size=3))


def leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every leaf with the names that lead to it."""
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in leaves(inner, (*path, name))]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner, path)]
    return [(path, value)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(nested())
@example({"environment_settings": {"target_biome": "mountain"}, "inventory_settings": {"wood": 3}})
@example({"world_settings": {"target_biome": "mountain"}, "starting_items": {"wood": 3}})
@example({"designs": [{"do_not_use": {"starting_wood": 9}}]})
def test_every_leaf_is_used_noted_or_a_problem(value: dict[str, Any]) -> None:
    """A leaf's setting has its value in a design, or a note or problem names it or what holds it."""
    reply = read(json.dumps(value), 8)
    made = [design for design in reply.designs if design is not None]
    used = {(name, value) for design in made for name, value in design.settings().items()}
    said = " ".join([*reply.notes, *map(str, reply.problems)])
    refused = any(problem.fatal and problem.design for problem in reply.problems)
    for path, leaf in leaves(value):
        own = path[-1]
        names = {own, f"starting_{own}", f"{own}_rarity"} & set(DEFAULTS)
        taken = any((name, leaf) in used for name in names) or any(str(leaf) in design.purpose for design in made)
        told = [name for name in path if name not in WRAPPERS or name in said.replace(GROUPS, "")]
        named = any(f"'{name}'" in said or f"{name}=" in said or f"{name}:" in said for name in told)
        assert taken or named or f"'{leaf}'" in said or (refused and (names or "purpose" in path)), (path, leaf)


def test_groups_are_the_vocabulary_s_in_heist_too() -> None:
    level = {"size": "7x7", "locks": "two"}
    text = json.dumps({"environment_settings": level, "inventory_settings": {"keys": 1}, "gem_distance": {"least": 5}})
    reply = parse_reply(text, Wording.plain(HEIST), HeistDesign, HEIST_SKILLS, 1)
    assert reply.designs == (HeistDesign(maze_size="7x7", locks="two", keys_held=1, gem_distance_least=5),)
    assert not reply.problems


def test_depth_and_number_of_values_are_capped() -> None:
    deep = "[" * (lenient.MAX_DEPTH + 2) + "]" * (lenient.MAX_DEPTH + 2)
    assert lenient.find_values(deep) != []  # its inner part is shallow enough
    assert lenient.find_values("[" + "0," * (2 * lenient.MAX_VALUES) + "0]") == []
