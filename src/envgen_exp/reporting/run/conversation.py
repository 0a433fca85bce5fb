"""The section of a run's page about its language model: every request with its answer, folded."""

from __future__ import annotations

from envgen_exp.config import LLMKind
from envgen_exp.reporting.page import Markup, element, fold, joined
from envgen_exp.run.record import RunRecord

CALLS = 100
"""Requests to a language model in a page, at most: one that plays is asked thousands of times."""

MESSAGE_CHARACTERS = 20_000
"""Of a longer message the page shows the beginning."""


def conversation(data: RunRecord) -> Markup:
    """The run's requests with their answers, folded; a chat's earlier messages are shown once."""
    if not data.calls:
        return element("p", "No designer has asked anything.", class_="note")
    what = "cycle" if data.learner.trains else "episode"
    seen: set[tuple[str, str]] = set()
    parts: list[object] = []
    if not data.uses_llm:
        parts.append(
            element("p", f"No language model was asked: llm={data.config.llm.name}, {stand_in(data)}.", class_="note")
        )
    for number, (sent, outcome) in enumerate(data.calls[:CALLS], start=1):
        record = data.exchange(outcome)
        status = outcome["status"] if outcome else "no answer yet"
        facts_of = [f"{what} {sent['cycle']}", sent["purpose"], f"attempt {sent['attempt']}", str(status)]
        messages: list[object] = []
        if record is not None:
            answer = record["answer"]
            if data.uses_llm:
                cost = "price not known" if answer["cost"] is None else f"${answer['cost']:.4f}"
                tokens = f"{answer['prompt_tokens']:,} + {answer['completion_tokens']:,} tokens"
                facts_of += [tokens, cost, f"{answer['seconds']:.1f} s"]
            asked = [(str(m["role"]), str(m["content"])) for m in record["request"]["messages"]]
            old = sum(message in seen for message in asked)
            if old:
                messages.append(
                    element("p", f"{old} earlier messages of the chat, shown above, went along.", class_="note")
                )
            messages += [_message(*message) for message in asked if message not in seen]
            reply = ("assistant", str(answer["text"]))
            messages.append(_message(*reply))
            seen |= {*asked, reply}
        elif outcome is not None and outcome.get("error"):
            messages.append(_message("error", str(outcome["error"])))
        parts.append(fold(f"Call {number}: {', '.join(facts_of)}", *messages))
    if len(data.calls) > CALLS:
        parts.append(element("p", f"{len(data.calls) - CALLS:,} further requests lie in llm/ alone.", class_="note"))
    return joined(parts)


def _message(role: str, text: str) -> Markup:
    cut = len(text) - MESSAGE_CHARACTERS
    shown = text if cut <= 0 else f"{text[:MESSAGE_CHARACTERS]}\n[{cut:,} more characters in llm/calls/]"
    return element("div", element("span", role, class_="role"), element("pre", shown, tabindex="0"), class_="message")


def stand_in(data: RunRecord) -> str:
    """What answered in a language model's place."""
    return "recorded answers" if data.config.llm.kind is LLMKind.replay else "a rule-based stand-in"
