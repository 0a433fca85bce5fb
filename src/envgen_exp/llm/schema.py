"""A JSON schema as each kind of model can take it: with everything bounded, or without any bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEXT = 240
"""Most characters of a text in a bounded schema."""

ITEMS = 64
"""Most items of a list in a bounded schema."""

NUMBER = 10**6
"""Most that a whole number can be, and least below zero, in a bounded schema."""

BOUNDS = frozenset({"minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength"})


def portable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without bounds: inside the subset that all providers take."""
    return _each(schema, lambda inner: portable(inner), without=BOUNDS)


def bounded(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with an end to every text, list and number, so that no answer in its form can go on for ever.

    Bounds that it has are kept where they are tighter. Descriptions are left out: the grammar has no use for them.
    """
    result = _each(schema, bounded, without=frozenset({"description"}))
    kind = result.get("type")
    if "enum" in result or "const" in result:
        return result
    if kind == "string":
        result["maxLength"] = min(result.get("maxLength", TEXT), TEXT)
    elif kind == "array":
        result["maxItems"] = min(result.get("maxItems", ITEMS), ITEMS)
    elif kind == "integer":
        result["minimum"] = max(result.get("minimum", -NUMBER), -NUMBER)
        result["maximum"] = min(result.get("maximum", NUMBER), NUMBER)
    return result


def typical(schema: Mapping[str, Any]) -> Any:
    """A value in the schema's form that is about as long as a model's."""
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return typical(schema["anyOf"][0])
    kind = schema.get("type")
    if kind == "object":
        needed = schema.get("required", schema.get("properties", {}))
        return {name: typical(schema["properties"][name]) for name in needed}
    if kind == "array":
        return [typical(schema.get("items", {}))] * min(max(schema.get("minItems", 2), 1), schema.get("maxItems", 2))
    if kind == "string":
        return "word " * (min(schema.get("maxLength", TEXT), TEXT) // 10)
    return {"boolean": False, "null": None}.get(str(kind), schema.get("minimum", 0))


def _each(schema: Mapping[str, Any], change: Any, *, without: frozenset[str]) -> dict[str, Any]:
    """A copy without some keywords, and with its inner schemas changed; names of properties are no keywords."""
    result = {name: value for name, value in schema.items() if name not in without}
    if "properties" in result:
        result["properties"] = {name: change(inner) for name, inner in result["properties"].items()}
    if "items" in result:
        result["items"] = change(result["items"])
    if "anyOf" in result:
        result["anyOf"] = [change(inner) for inner in result["anyOf"]]
    return result
