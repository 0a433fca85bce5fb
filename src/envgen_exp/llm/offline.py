"""A rule-based stand-in for a language model: no key, no network, no calls; it is not a language model.

It reads the very messages that a model would get (number of designs, vocabulary, success rates, complaints), knows a
family's skill rules, and answers in the same form. Equal messages with an equal seed give equal answers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from envgen_exp.families.family import SkillRule
from envgen_exp.llm.ledger import Address
from envgen_exp.llm.source import Answer, Message, sampling_seed

REACH = 0.2
"""A skill is within reach once every skill that it requires succeeds this often."""

MASTERED = 0.95
"""A skill that succeeds this often needs no design."""

_TARGETS = 3
"""Most skills that one design aims at."""

_COUNT = re.compile(r"exactly (\d+) designs?")
_SETTING = re.compile(r"^- (\w[\w, ]*): (.+?) \(default: (.+?)\)", re.MULTILINE)
_RATE = re.compile(r"^- (\w[\w, ]*): (\d+(?:\.\d+)?)%(?: ± |$)", re.MULTILINE)
_COMPLAINT = re.compile(r"^- design (\d+): (.*)$", re.MULTILINE)


class Offline:
    """The stand-in as a source of answers."""

    client = "offline"
    model = "offline"

    def __init__(self, rules: Sequence[SkillRule], max_repairs: int, seed: int | None = None) -> None:
        self._rules = rules
        self.max_repairs = max_repairs
        self._seed = seed

    def request(self, messages: Sequence[Message], schema: Mapping[str, Any] | None, draw: int = 0) -> dict[str, Any]:
        """The messages and the seed are all that it reads."""
        plain = [dict(message) for message in messages]
        return {"model": self.model, "seed": sampling_seed(self._seed, draw), "messages": plain}

    def reserve(self, request: Mapping[str, Any]) -> float | None:
        """Nothing is paid."""
        return 0.0

    def ask(self, request: Mapping[str, Any], address: Address) -> Answer:
        """The rules' answer."""
        text = answer(request["messages"], self._rules, request["seed"])
        return Answer(
            text=text,
            finish="stop",
            prompt_tokens=0,
            completion_tokens=0,
            estimated=False,
            cost=0.0,
            seconds=0.0,
            model=self.model,
        )


def answer(messages: Sequence[Message], rules: Sequence[SkillRule], seed: int | None = None) -> str:
    """The stand-in's reply to a chat: JSON with designs aimed at the weakest skills within reach.

    While no rates are known, `seed` decides which skills of each level of difficulty come first.
    """
    asked = [message["content"] for message in messages if message["role"] == "user"]
    text = "\n".join(asked)
    counts = _COUNT.findall(text)
    count = int(counts[-1]) if counts else 1
    vocabulary = {name: allowed for names, allowed, _ in _SETTING.findall(text) for name in names.split(", ")}
    rates: dict[str, float] = {}
    for content in asked:
        told = _RATE.findall(content)
        rates = {name: float(percent) / 100 for names, percent in told for name in names.split(", ")} or rates
    # A skill that no setting of this vocabulary brings nearer is no reason for a design.
    rules = [rule for rule in rules if vocabulary.keys() & rule.settings.keys()]
    if not rules:
        return _write([_guess(vocabulary, f"{_hash(text)}/{slot}/{seed}") for slot in range(count)])
    said, barred = _complaints(messages, rules)
    designs = {slot: said[slot] for slot in range(count) if barred and slot not in barred and slot < len(said)}
    ranking = _ranking(rules, rates, count, seed)
    others = sorted(
        (rule for rule in rules if rule not in ranking),
        key=lambda rule: (rates.get(rule.skill, 0.0) >= MASTERED, rates.get(rule.skill, 0.0)),
    )
    for slot in range(count):
        if slot in designs:
            continue
        order = ranking[slot % len(ranking) :] + ranking[: slot % len(ranking)]
        order = [rule for rule in order if rule.skill not in barred.get(slot, set())] or order
        made = [_design(order[start:], vocabulary, rates) for start in range(len(order))]
        # Where few skills are weak: those out of reach, then the mastered ones, each alone.
        made += [_design([rule], vocabulary, rates) for rule in others if rule.skill not in barred.get(slot, set())]
        taken = [_settings_of(design) for design in designs.values()]
        # Two equal worlds teach no more than one: take the next skill instead.
        designs[slot] = next((design for design in made if _settings_of(design) not in taken), made[0])
    return _write([designs[slot] for slot in range(count)])


def _hash(text: str) -> str:
    """A hash of a text, equal in every process."""
    return hashlib.sha256(text.encode()).hexdigest()


def _ranking(rules: Sequence[SkillRule], rates: Mapping[str, float], count: int, seed: int | None) -> list[SkillRule]:
    """The skills in the order in which they should be trained."""
    if not rates:
        # Nothing is known yet: start each design at a level of difficulty of its own, evenly spaced without a seed.
        number = min(count, len(rules))
        chance = random.Random(seed)
        within = [0.0 if seed is None else chance.random() for _ in range(number)]
        starts = [rules[int((slot + within[slot]) * len(rules) / number)] for slot in range(number)]
        return starts + [rule for rule in rules if rule not in starts]
    weak = [
        rule
        for rule in rules
        if rates.get(rule.skill, 0.0) < MASTERED and all(rates.get(name, 0.0) >= REACH for name in rule.requires)
    ]
    return sorted(weak or rules, key=lambda rule: rates.get(rule.skill, 0.0))


def _design(order: Sequence[SkillRule], vocabulary: Mapping[str, str], rates: Mapping[str, float]) -> dict[str, Any]:
    """A design for the first skill of `order`, and for the next ones whose settings agree with it."""
    settings: dict[str, str | int] = {}
    targets: list[str] = []
    for rule in order:
        wanted = {
            name: _faded(value, rates.get(rule.skill, 0.0))
            for name, value in rule.settings.items()
            if name in vocabulary
        }
        agrees = all(
            settings[name] == value or isinstance(value, int) for name, value in wanted.items() if name in settings
        )
        if targets and not agrees:
            continue
        for name, value in wanted.items():
            known = settings.get(name, value)
            settings[name] = max(known, value) if isinstance(known, int) and isinstance(value, int) else value
        targets.append(rule.skill)
        if len(targets) == _TARGETS:
            break
    first = targets[0]
    if rates:
        why = f"{first} succeeds in {rates.get(first, 0.0):.0%} of episodes, and what it requires is there"
    else:
        why = f"a first look at {first}"
    return {"purpose": why, "targets": targets, **settings}


def _faded(value: str | int, rate: float) -> str | int:
    """Help fades as a skill is learnt: fewer starting items, but one at least."""
    return max(1, round(value * (1 - rate))) if isinstance(value, int) and value > 0 else value


def _complaints(
    messages: Sequence[Message], rules: Sequence[SkillRule]
) -> tuple[list[dict[str, Any]], dict[int, set[str]]]:
    """The designs of its last answer, and the skills that complaints since the latest rates took from each by slot."""
    skills = {rule.skill for rule in rules}
    said: list[dict[str, Any]] = []
    barred: dict[int, set[str]] = {}
    for message in messages:
        content = message["content"]
        if message["role"] == "assistant":
            with contextlib.suppress(ValueError, KeyError, TypeError):
                said = json.loads(content)["designs"]
            continue
        if _RATE.search(content):
            barred.clear()
        for number, complaint in _COMPLAINT.findall(content):
            slot = int(number) - 1
            aimed = set(said[slot].get("targets", ())) if 0 <= slot < len(said) else set()
            named = skills.intersection(re.findall(r"\w+", complaint))
            barred.setdefault(slot, set()).update(named & aimed or aimed)
    return said, barred


def _guess(vocabulary: Mapping[str, str], seed: str) -> dict[str, Any]:
    """A design from words that mean nothing to the rules, as in the ablation that hides them."""
    chance = random.Random(seed)
    settings: dict[str, Any] = {}
    for name in chance.sample(sorted(vocabulary), min(_TARGETS, len(vocabulary))):
        numbers = re.fullmatch(r"whole number from (\d+) to (\d+)", vocabulary[name])
        if numbers:
            settings[name] = chance.randint(int(numbers[1]), int(numbers[2]))
        else:
            settings[name] = chance.choice(vocabulary[name].split(" | "))
    return {"purpose": "these settings have no names that the rules know: a guess", "targets": [], **settings}


def _settings_of(design: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in design.items() if name not in ("purpose", "targets")}


def _write(designs: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"designs": list(designs)}, indent=1)
