"""The report evaluation of finished Heist runs by the number of locks: a level without locks is nearly free.

python examples/heist_by_locks.py runs/FOLDER [runs/FOLDER ...]
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from envgen_exp.errors import EnvGenError
from envgen_exp.families import make_family
from envgen_exp.families.heist.design import SKILLS
from envgen_exp.families.heist.family import HeistFamily
from envgen_exp.learners.intervals import wilson
from envgen_exp.reporting.statistics import mean_sd
from envgen_exp.run.record import RunRecord
from envgen_exp.tracking.metrics import read

GEM = SKILLS.index("take_gem")


def table(folder: Path) -> str:
    """The run's gem success in all, over its groups of episodes (slots), and for each number of locks."""
    family = make_family(RunRecord(folder).config.env)
    if not isinstance(family, HeistFamily):
        raise SystemExit(f"{folder} is no run of Heist")
    rows = [row for row in read(folder / "episodes.jsonl") if row["phase"] == "report-evaluation"]
    if not rows:
        raise SystemExit(f"{folder} has no report evaluation yet")
    lines = [f"{folder} ({family.engine})", f"{'locks':>10}{'episodes':>10}{'gem taken':>11}   95 % interval"]
    found = family.gem_by_locks((row["world_seed"], bool(row["skills"][GEM])) for row in rows)
    found_all = tuple(map(sum, zip(*found.values(), strict=True)))
    for name, (taken, episodes) in [*((str(number), counts) for number, counts in found.items()), ("all", found_all)]:
        low, high = wilson(taken, episodes)
        lines.append(f"{name:>10}{episodes:>10,}{taken / episodes:>10.1%}    {low:.1%} - {high:.1%}")
    groups, won = Counter(row["slot"] for row in rows), Counter(row["slot"] for row in rows if row["skills"][GEM])
    mean, sd = mean_sd([100 * won[slot] / groups[slot] for slot in groups])
    if sd is not None:
        lines.append(f"over {len(groups)} groups of {len(rows) / len(groups):.0f} episodes: {mean:.1f} ± {sd:.1f} %")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="+", help="a run's folder")
    runs = parser.parse_args().run
    try:
        print("\n\n".join(table(folder) for folder in runs))
    except EnvGenError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
