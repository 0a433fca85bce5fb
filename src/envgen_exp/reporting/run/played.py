"""report.html of a run in which a language model played: score, what an episode took, skills, episodes, config."""

from __future__ import annotations

from pathlib import Path

from envgen_exp.guard.writing import write_atomic
from envgen_exp.learners.intervals import wilson
from envgen_exp.reporting.page import Markup, Section, element, facts, page, table
from envgen_exp.reporting.run.data import RunData
from envgen_exp.reporting.run.page_of_run import REPORT, config
from envgen_exp.reporting.run.terminal import answers_line, episode_line, llm_line, percent, score_line
from envgen_exp.run.summary import RunSummary


def make_played_report(folder: Path) -> Path:
    """Write the page from a run's files, finished or not, and return its path; EnvGenError where it is no run."""
    write_atomic(folder / REPORT, render(RunData(folder)).encode())
    return folder / REPORT


def render(data: RunData) -> str:
    """The page."""
    c, sections = data.config, []
    if data.summary is not None:
        sections = [
            Section("headline", "Headline", headline(data.summary)),
            Section("skills", "Skills", skills(data.summary)),
            Section("episodes", "Episodes", episodes(data.summary)),
        ]
    notice = "" if data.finished else "Not finished: what an episode comes to is shown when all are played."
    subtitle = f"{c.env.name}, agent={c.agent.name}, llm={c.llm.name}, seed {c.seed}"
    sections.append(Section("config", "Config", config(data)))
    return page(f"Run {data.folder.resolve().name}", subtitle, notice, sections)


def headline(summary: RunSummary) -> Markup:
    """What it came to and what it took."""
    lines = {"score": score_line, "LLM calls": llm_line, "an episode": episode_line, "answers": answers_line}
    return facts((name, line(summary)) for name, line in lines.items())


def skills(summary: RunSummary) -> Markup:
    """Each skill's successes with their interval."""
    report, rows = summary.report, []
    for skill in summary.skills:
        low, high = wilson(report.successes[skill], report.episodes)
        rate = f"{percent(report.rate(skill))} [{percent(low)}, {percent(high)}]"
        rows.append([skill, f"{report.successes[skill]} of {report.episodes}", rate])
    return table("Success in the original", ["skill", "episodes", "percent [95 % interval]"], rows)


def episodes(summary: RunSummary) -> Markup:
    """What each episode took."""
    names = list(summary.by_episode)
    rows = [
        [number, *("?" if value is None else f"{value:,.4g}" for value in values)]
        for number, values in enumerate(zip(*summary.by_episode.values(), strict=True), start=1)
    ]
    note = "Seconds are those of requests; an episode is cut (1) where agent.max_steps ended it."
    return element("div", table("Each episode", ["episode", *names], rows), element("p", note, class_="note"))
