"""With the real weights (make model, make test-model): a whole run designed by a real model, twice the same."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest
from runs import final_state, summary

from envgen_exp.commands import run as command
from envgen_exp.commands.compose import compose_run
from envgen_exp.llm.embedded import weights

CACHE = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache"
"""The user's, which tests else never see."""


@pytest.mark.model
def test_a_run_with_the_real_model_is_the_same_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))
    assert weights.sha256(weights.cache_folder() / weights.FILE) == weights.SHA256
    states, texts = [], []
    for name in ("one", "two"):
        folder = tmp_path / name
        words = ["experiment=demo", "llm=embedded", "tracker=none", "num_threads=2", "env.num_threads=1"]
        assert command.run(compose_run([*words, f"folder={folder}"]), []) == 0
        found = summary(folder)
        assert found.uses_llm
        assert found.llm_calls >= len(found.feedback)
        assert found.cost == 0.0
        states.append(final_state(folder))
        texts.append({file.name: json.loads(file.read_text())["answer"]["text"] for file in calls(folder)})
    assert texts[0] == texts[1]
    assert all(json.loads(text)["designs"] for text in texts[0].values())
    assert states[0] == states[1]


def calls(folder: Path) -> list[Path]:
    return sorted((folder / "llm" / "calls").iterdir())
