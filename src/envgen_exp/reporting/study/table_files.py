"""A study's tables as files: Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from envgen_exp.guard.writing import write_over
from envgen_exp.reporting.statistics import mean_sd, units
from envgen_exp.reporting.study.analysis import Analysis, steps_of, updates
from envgen_exp.reporting.study.answers import answers
from envgen_exp.reporting.study.claims import MARGIN
from envgen_exp.reporting.study.parts import error_sheets, score_sheets
from envgen_exp.reporting.study.tables import Sheet, mean_cost, sheets, skill_sheets, unfinished
from envgen_exp.run.summary import PLAYED_KINDS

MARK = "<!-- written by python -m envgen_exp report; changes are lost -->"
"""First line of a Markdown file that may be written anew."""


def write_tables(analysis: Analysis) -> list[Path]:
    """Write tables.md, tables.tex, arms.csv, skills.csv and contrasts.csv into the study's folder; return their paths.

    RunFolderError where they can't be written or a file of that name is somebody else's.
    """
    folder = analysis.study.folder
    files: list[tuple[str, str, str]] = [
        ("tables.md", markdown(analysis), MARK),
        ("tables.tex", latex(analysis), _TEX_MARK),
        ("arms.csv", _csv("arm", arm_records(analysis)), "arm"),
        ("skills.csv", _csv("arm", skill_records(analysis)), "arm"),
        ("contrasts.csv", _csv("contrast", contrast_records(analysis)), "contrast"),
    ]
    for name, text, mark in files:
        write_over(folder / name, text, functools.partial(_begins_with, mark))
    return [folder / name for name, _, _ in files]


def _begins_with(mark: str, text: str) -> bool:
    return text.startswith((f"{mark}\n", f"{mark},"))


_TEX_MARK = "% written by python -m envgen_exp report; changes are lost"


def markdown(analysis: Analysis) -> str:
    """All tables, and what to know before comparing rows."""
    study = analysis.study
    lines = [MARK, f"# {study.folder.resolve().name}", ""]
    if not study.arms and not study.diagnostics:
        lines += ["No run is finished yet.", ""]
    for sheet in _all(analysis):
        lines += [f"## {sheet.title}", "", sheet.caption, "", _bars(sheet.headers)]
        lines.append("|" + "".join("---|" if i < sheet.numbers else "---:|" for i in range(len(sheet.headers))))
        lines += [*map(_bars, sheet.rows), ""]
    if analysis.notes:
        lines += ["## Before comparing rows", "", *(f"- {note}" for note in analysis.notes), ""]
    if study.unfinished:
        lines += ["## Unfinished runs", "", *(f"- {words}: `{command}`" for words, command in unfinished(study)), ""]
    return "\n".join(lines)


def _all(analysis: Analysis) -> list[Sheet]:
    return [
        *sheets(analysis),
        *score_sheets(analysis),
        *error_sheets(analysis),
        *skill_sheets(analysis),
        *answers(analysis),
    ]


def _bars(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def latex(analysis: Analysis) -> str:
    """All tables for \\input, in booktabs' style."""
    lines = [_TEX_MARK, r"% needs \usepackage{booktabs}"]
    for sheet in _all(analysis):
        lines += [
            r"\begin{table}",
            rf"  \caption{{{_tex(sheet.title)}. {_tex(sheet.caption)}}}",
            rf"  \begin{{tabular}}{{{'l' * sheet.numbers}{'r' * (len(sheet.headers) - sheet.numbers)}}}",
            r"    \toprule",
            f"    {' & '.join(map(_tex, sheet.headers))} \\\\",
            r"    \midrule",
            *(f"    {' & '.join(map(_tex, row))} \\\\" for row in sheet.rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    return "\n".join(lines) + "\n"


_TEX = {letter: rf"\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "<": "$<$",
    ">": "$>$",
}


def _tex(text: str) -> str:
    escaped = "".join(_TEX.get(letter, letter) for letter in text)
    return f"{{}}{escaped}" if escaped.startswith("[") else escaped  # else an argument of the line break before


def arm_records(analysis: Analysis) -> list[dict[str, Any]]:
    """A row for each arm, numbers unrounded."""
    rows = []
    for one in (*analysis.arms, *analysis.diagnostics):
        arm, same = one.arm, one.equivalence
        row: dict[str, Any] = {"arm": arm.label, "name": arm.name, "diagnostic": " ".join(arm.runs[0].diagnostic)}
        row |= {"runs": len(arm.runs), "design_sets": len({run.design_set for run in arm.runs})}
        row["independent_units"] = len(units(arm.groups(lambda s: s.score)))
        for name, values in (
            ("score", arm.values(lambda s: s.score)),
            ("training_score", arm.values(lambda s: s.training_score)),
            ("reward", arm.values(lambda s: s.reward)),
            ("training_reward", arm.values(lambda s: s.training_reward)),
        ):
            row[f"{name}_mean"], row[f"{name}_sd"] = mean_sd(values) if values else (None, None)
        row |= {"score_pooled": one.pooled, "score_iqm": one.iqm}
        row["score_iqm_low"], row["score_iqm_high"] = one.iqm_interval or (None, None)
        row["paper_score"] = one.paper
        for field in ("difference", "low", "high", "p", "margin", "power", "needed"):
            row[f"equivalence_{field}"] = getattr(same, field) if same else None
        for name, values in (
            ("llm_calls", arm.values(lambda s: s.llm_calls)),
            ("prompt_tokens", arm.values(lambda s: s.prompt_tokens)),
            ("completion_tokens", arm.values(lambda s: s.completion_tokens)),
            ("dollars", [] if (cost := mean_cost(arm)) is None else [cost]),
            *((f"{kind}_steps", arm.values(steps_of(kind))) for kind in PLAYED_KINDS),
            ("updates", arm.values(updates)),
            ("seconds", arm.values(lambda s: s.seconds)),
        ):
            row[name] = mean_sd(values)[0] if values else None
        rows.append(row)
    return rows


def skill_records(analysis: Analysis) -> list[dict[str, Any]]:
    """A row for each arm and skill, in percent."""
    rows = []
    for arm, results in analysis.skills:
        for one in results:
            row = {"arm": arm.label, "skill": one.skill, "runs": one.runs, "episodes": one.episodes}
            row |= {"pooled": one.pooled, "mean": one.mean}
            row["pooled_low"], row["pooled_high"] = one.pooled_interval
            row["mean_low"], row["mean_high"] = one.mean_interval or (None, None)
            rows.append(row)
    return rows


def contrast_records(analysis: Analysis) -> list[dict[str, Any]]:
    """A row for each difference."""
    rows = []
    for one in analysis.contrasts:
        row: dict[str, Any] = {"contrast": f"{one.ours.name} - {one.theirs.name}"}
        row |= {"ours": one.ours.label, "theirs": one.theirs.label}
        row |= {"ours_runs": len(one.ours.runs), "theirs_runs": len(one.theirs.runs)}
        row |= {"pairs": one.difference.pairs, "difference": one.difference.points}
        for field in ("low", "high", "p", "free"):
            row[field] = getattr(one.difference.test, field, None)
        row["p_corrected"] = one.corrected
        for field in ("difference", "low", "high", "p", "free"):
            row[f"welch_{field}"] = getattr(one.difference.welch, field, None)
        row["p_permutation"], row["p_permutation_smallest"] = one.permutation or (None, None)
        row["p_better"] = one.improvement
        row["p_better_low"], row["p_better_high"] = one.improvement_interval or (None, None)
        row[f"runs_needed_for_{MARGIN:g}_points"] = one.needed
        rows.append(row)
    return rows


def _csv(first: str, rows: Sequence[dict[str, Any]]) -> str:
    """Rows under their names; `first` is the first name, which stands there without any row as well."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [first], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
