"""`agent=direct`: one question for each action; of the game it is told the goal and the names of things."""

from __future__ import annotations

from envgen_exp.learners.asked.chain import Question

QUESTIONS = (Question("action", "Which action do you take now? You may think in a few sentences first."),)
