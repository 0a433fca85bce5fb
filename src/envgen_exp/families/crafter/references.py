"""Scores of the stock game that were published, or that random actions reach.

Numbers of Zala et al. 2024 (arXiv 2403.12014v2) are those of its Table 1, read over the training episodes of the last
million steps, mean ± SD over runs.
"""

from __future__ import annotations

from envgen_exp.families.family import Reference


def _paper(name: str, score: float, spread: str, steps: int, *, line: bool = False) -> Reference:
    read = "the training episodes of its last 1 M steps"
    return Reference(name, score, spread, steps, "pixels", read, "Zala et al. 2024", line=line)


PPO = _paper("PPO", 26.4, "± 2.1", 1_960_000, line=True)
ENVGEN = _paper("PPO with EnvGen", 32.2, "± 0.6", 1_960_000, line=True)
AD = _paper("Achievement Distillation", 31.8, "± 0.7", 1_960_000)
AD_ENVGEN = _paper("Achievement Distillation with EnvGen", 35.3, "± 0.7", 1_960_000)
SPRING = Reference("SPRING (GPT-4 plays)", 27.3, "", None, "words", "whole episodes", "Zala et al. 2024")

REFERENCES = (
    Reference(
        "random actions", 1.51, "[1.43, 1.59]", 0, "", "1,000 report episodes", "docs/results/learning.md", line=True
    ),
    _paper("PPO, 1 M steps", 15.5, "± 0.6", 1_000_000, line=True),
    _paper("Achievement Distillation, 1 M steps", 21.8, "± 1.4", 1_000_000),
    *(PPO, ENVGEN, AD, AD_ENVGEN, SPRING),
    Reference("human experts", 50.5, "± 6.8", None, "pixels", "whole episodes", "Hafner 2021"),
)
