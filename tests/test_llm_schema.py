"""Schemas: everything that a bounded one allows has an end, and a portable one has nothing that a provider refuses."""

from __future__ import annotations

from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from envgen_exp.config import Engine, Prompt
from envgen_exp.families import make_family
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.llm.prompt import Prompter
from envgen_exp.llm.schema import BOUNDS, ITEMS, NUMBER, TEXT, bounded, portable, typical

KEYWORDS = ("maxLength", "maxItems", "minimum", "description", "type", "properties", "items", "enum")
sizes = st.integers(0, 10_000)
described = st.fixed_dictionaries({}, optional={"description": st.text(max_size=5)})


def with_bounds(kind: str, **bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    keywords = st.fixed_dictionaries({"type": st.just(kind)}, optional=bounds)
    return st.builds(lambda one, other: one | other, keywords, described)


leaves = st.one_of(
    with_bounds("string", maxLength=sizes),
    with_bounds("integer", minimum=st.integers(-(10**9), 0), maximum=st.integers(0, 10**9)),
    st.lists(st.text(max_size=3), min_size=1, max_size=3).map(lambda words: {"type": "string", "enum": words}),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}]),
)


def deeper(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    # Names of properties that are keywords too must stay.
    members = st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=3)
    objects = members.map(lambda properties: {"type": "object", "properties": properties, "required": [*properties]})
    lists = st.builds(lambda one, items: {**one, "items": items}, with_bounds("array", maxItems=sizes), inner)
    return st.one_of(objects, lists)


schemas = st.recursive(leaves, deeper, max_leaves=8)


def check_bounded(schema: dict[str, Any], before: dict[str, Any]) -> None:
    assert "description" not in schema
    if "enum" in schema:
        assert schema["enum"] == before["enum"]
    elif schema["type"] == "string":
        assert schema["maxLength"] == min(TEXT, before.get("maxLength", TEXT))
    elif schema["type"] == "integer":
        assert -NUMBER <= schema["minimum"] <= schema["maximum"] <= NUMBER
        assert schema["minimum"] >= before.get("minimum", -NUMBER)
        assert schema["maximum"] <= before.get("maximum", NUMBER)
    elif schema["type"] == "array":
        assert schema["maxItems"] == min(ITEMS, before.get("maxItems", ITEMS))
        check_bounded(schema["items"], before["items"])
    elif schema["type"] == "object":
        assert schema["properties"].keys() == before["properties"].keys()
        for name, inner in schema["properties"].items():
            check_bounded(inner, before["properties"][name])


@given(schemas)
def test_everything_in_a_bounded_schema_has_an_end(schema: dict[str, Any]) -> None:
    found = bounded(schema)
    check_bounded(found, schema)
    assert bounded(found) == found


@given(schemas)
def test_a_typical_value_has_the_schema_s_form(schema: dict[str, Any]) -> None:
    jsonschema.validate(typical(bounded(schema)), schema)


def keywords(schema: dict[str, Any]) -> set[str]:
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return set(schema).union(*map(keywords, inner)) if inner else set(schema)


@given(schemas)
def test_a_portable_schema_has_no_bounds(schema: dict[str, Any]) -> None:
    assert not keywords(portable(schema)) & BOUNDS
    assert keywords(portable(schema)) == keywords(schema) - BOUNDS


def test_a_designer_s_schema_has_the_vocabulary_s_ranges_and_the_number_of_designs() -> None:
    family = make_family(CrafterConfig(engine=Engine.reference))
    designs = bounded(Prompter(family, Prompt.rich, 3).schema())["properties"]["designs"]
    assert (designs["minItems"], designs["maxItems"]) == (3, 3)
    for setting in family.vocabulary:
        of_schema = designs["items"]["properties"][setting.name]
        if not setting.choices:
            assert (of_schema["minimum"], of_schema["maximum"]) == (setting.low, setting.high)
