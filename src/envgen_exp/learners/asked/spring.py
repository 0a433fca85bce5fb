"""`agent=spring`: the game's manual as context and nine questions for each action, after SPRING (Wu et al. 2023).

SPRING (arXiv 2305.15486) asks nine questions along a graph, each shown the answers of those before it. The wording here
is our own; docs/agents.md says where else the two differ.
"""

from __future__ import annotations

from envgen_exp.learners.asked.chain import Question

QUESTIONS = (
    Question(
        "things",
        "Go through what is in view: which things matter to you now, what can each of them give you, and what does it "
        "take to get that?",
    ),
    Question(
        "reachable",
        "Which of these things could you make use of right now, with what you carry and from where you stand? Say for "
        "each what is missing, if anything is.",
        needs=("things",),
    ),
    Question("last_action", "Which action did you take last, and what was it meant to bring about?"),
    Question(
        "outcome",
        "Compare what you saw before that action with what you see now. Did it bring about what it was meant to? If it "
        "did not, what stood in the way?",
        needs=("last_action",),
    ),
    Question(
        "tasks",
        "Which three tasks should come next, given your vital signs and the achievements that are still open? Rank "
        "them and say how urgent each one is.",
        needs=("reachable", "outcome"),
    ),
    Question(
        "first_task",
        "Take the most urgent of these tasks. What does it require, which of that do you have, and what has to be done "
        "first?",
        needs=("tasks",),
    ),
    Question(
        "candidates",
        "Name the five actions that serve you best now, by their exact names and from the manual's list alone, the "
        "best first. Say for each what it requires.",
        needs=("first_task",),
    ),
    Question(
        "possible",
        "Which of these actions are possible at this moment? Check what each one requires against what you see and "
        "carry.",
        needs=("candidates",),
    ),
    Question("action", "Which of the possible actions do you take now?", needs=("candidates", "possible")),
)
