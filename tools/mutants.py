"""Small faults in the modules that results rest on, and which of them no test sees.

    python tools/mutants.py [--number 200] [--seed 0] [--workers 2] [--out mutants.jsonl]

A mutant is one module with one fault: a comparison or a sum turned round, a constant changed, a statement left out. As
many are drawn for each subject. Each meets the subject's quick tests, and where it survives those, slower ones. They
run in copies of the working tree, which itself is not touched, and must pass there without a fault. Rows go to a file:
a run that was killed goes on where it was, and a larger number keeps what a smaller one found. At the end stand a table
and the survivors, as Markdown; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import ctypes
import functools
import gc
import hashlib
import importlib
import itertools
import json
import multiprocessing
import os
import random
import re
import resource
import runpy
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

ROOT = Path(__file__).parents[1]
PACKAGE = Path("src/envgen_exp")
START = """import sys
sys.meta_path[:] = [each for each in sys.meta_path if not type(each).__module__.startswith("_editable_")]
"""
"""What a process does before it imports a copy, where PYTHONPATH comes after the finder of an editable installation."""

SUBJECTS = {
    "evaluation": (
        "run/evaluations.py learners/skills.py learners/playing.py:play learners/ppo/evaluate.py",
        "rl_evaluate run_numbers tracking_metrics report_at",
        "record reporting_tables supervised pipeline paused_games plugins report_html",
    ),
    "feedback": (
        "llm/prompt.py llm/compact.py designers/adaptive.py designers/placebo.py run/loop.py:Run.evaluate",
        "run_numbers llm_evidence llm_prompt designers",
        "llm_schema llm_replay llm_distrust designers_learnability preview pipeline llm_reply llm_embedded "
        "designers_arms",
    ),
    "statistics": (
        "learners/intervals.py reporting/statistics.py reporting/study/contrasts.py reporting/study/analysis.py",
        "reporting_tables rl_evaluate reporting_statistics reporting_study",
        "packs driving_family report_at heist_family supervised reporting_claims verdict report_html",
    ),
    "claims": (
        "reporting/study/claims.py reporting/study/verdicts.py reporting/study/answers.py",
        "reporting_claims verdict",
        "packs report_at reporting_study report_html",
    ),
    "score": (
        "families/crafter/family.py:CrafterFamily.score families/heist/family.py:HeistFamily.score "
        "families/one_player.py:GameFamily.score families/driving/judging.py run/summary.py "
        "tracking/metrics.py:episode_values",
        "one_player reporting_tables run_numbers rl_evaluate tracking_metrics crafter_family::test_score_is_hafners "
        "record driving_family family_contract::test_score_of_equal_rates_is_that_rate supervised",
        "packs report_at heist_family pipeline plugins reporting_study report_html family_contract",
    ),
    "budgets": (
        "run/plan.py run/trial.py run/loop.py:Run.train_cycle run/loop.py:Run._deducted run/loop.py:Run._learn "
        "run/session.py:Session.trained run/session.py:Session.steps_left llm/prices.py "
        "llm/client.py:RecordedClient._keep_caps llm/ledger.py:Ledger.committed llm/ledger.py:totals",
        "run_numbers designers_learnability llm_replay llm_distrust report_at llm_client "
        "designers_arms::test_every_arm_has_the_same_steps_at_the_environment",
        "preview pipeline paused_games tracking_progress machines verdict designers_arms",
    ),
}
"""Modules, after a colon what is meant of one; tests that take half a minute at most, the cheapest first; and more."""

UNSTEADY = (
    *("llm_client::test_fault_matrix", "report_html::test_in_a_browser"),
    "reporting_study::test_a_thousand_runs_take_seconds",
)
"""Left out: a busy machine fails them."""
SLOW = "chaos or parity or long or launchers or model"
"""Marks of tests that `make test` leaves out too."""
HEAVY = (
    *("av", "crafter", "gymnasium", "hydra", "imageio.plugins.pillow", "litellm", "matplotlib.figure", "numba"),
    *("omegaconf", "openai.resources", "opensimplex", "pydantic", "pytest", "rich", "scipy.stats", "tiktoken", "torch"),
    *("wandb", "hydra_plugins.hydra_joblib_launcher.joblib_launcher"),
)
"""What tests import of other packages: six seconds of every start."""

SWAPS: dict[type[ast.AST], type[Any]] = {ast.FloorDiv: ast.Mult}
for one, other in (
    *((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq)),
    *((ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.And, ast.Or)),
):
    SWAPS |= {one: other, other: one}
UNSWAPPED = ("min", "max", "isinstance", "np.minimum", "np.maximum", "math.hypot", "math.isclose")
"""Calls to which the order of their arguments is all the same, or which fail whenever they are reached."""


class Mutant(NamedTuple):
    """One fault: of a file the bytes from `start` to `end` are replaced."""

    subject: str
    file: str
    line: int
    start: int
    end: int
    before: str
    after: str
    source: str
    """Digest of the file, so that no row of another version counts."""


def variants(node: ast.AST) -> Iterator[tuple[Any, ast.AST]]:
    """What of a node is replaced, and by what."""
    match node:
        case ast.Compare(left, ops, others):
            for i, op in enumerate(ops):
                if type(op) in SWAPS:
                    yield node, ast.Compare(left, [*ops[:i], SWAPS[type(op)](), *ops[i + 1 :]], others)
        case ast.BinOp(left, op, right) if type(op) in SWAPS:
            yield node, ast.BinOp(left, SWAPS[type(op)](), right)
        case ast.BoolOp(op, values):
            yield node, ast.BoolOp(SWAPS[type(op)](), values)
        case ast.UnaryOp(ast.Not(), operand):
            yield node, operand
        case ast.Constant(bool() as value):
            yield node, ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield node, ast.Constant(value + 1 if isinstance(value, int) or not value else value * 1.5)
        case ast.Slice(lower, upper):
            for bound in (lower, upper):
                if bound and not isinstance(bound, ast.Constant):
                    yield bound, ast.BinOp(bound, ast.Add(), ast.Constant(1))
        case ast.Call(func, [first, second, *rest], keywords):
            starred = isinstance(first, ast.Starred) or isinstance(second, ast.Starred)
            if not starred and ast.unparse(func) not in UNSWAPPED and ast.dump(first) != ast.dump(second):
                yield node, ast.Call(func, [second, first, *rest], keywords)
        case ast.AugAssign(target, op, value):
            yield node, ast.Pass()
            if type(op) in SWAPS:
                yield node, ast.AugAssign(target, SWAPS[type(op)](), value)
        case ast.Expr(ast.Call()):
            yield node, ast.Pass()
    for test in [node.test] if isinstance(node, ast.If | ast.IfExp) else getattr(node, "ifs", []):
        match test:
            case ast.UnaryOp() | ast.Compare(ops=[ast.Eq() | ast.NotEq()]):
                pass  # the same as another fault
            case _:
                yield test, ast.UnaryOp(ast.Not(), test)


def nodes(node: ast.AST, where: str = "") -> Iterator[tuple[str, ast.AST]]:
    """What may be broken, with the name of what it stands in: no types, no words for people, no guards."""
    match node:
        case ast.Raise() | ast.Assert() | ast.Expr(ast.Call(ast.Attribute(ast.Name("_log")))):
            return
        case ast.Expr(ast.Call(ast.Attribute(ast.Attribute(attr="progress")))):
            return  # what the terminal shows
        case ast.JoinedStr():
            return  # Python 3.11 does not know where its parts stand
        case ast.ClassDef(bases=[*_, ast.Name("Protocol")]) | ast.If(ast.Name("TYPE_CHECKING")) | ast.keyword("strict"):
            return  # nothing of these is ever called
        case ast.ClassDef() | ast.FunctionDef():
            where = f"{where}{node.name}."
    yield where, node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from nodes(child, where)


def mutants(root: Path, subject: str) -> list[Mutant]:
    """All of a subject, module by module."""
    found = []
    for module in SUBJECTS[subject][0].split():
        name, _, meant = module.partition(":")
        source = (root / PACKAGE / name).read_bytes()
        digest = hashlib.sha256(source).hexdigest()[:12]
        starts = [0, *itertools.accumulate(map(len, source.splitlines(keepends=True)))]
        inside = [node for where, node in nodes(ast.parse(source)) if where.startswith(f"{meant}." if meant else "")]
        assert inside, f"{module} is no longer there"
        for old, new in (pair for node in inside for pair in variants(node)):
            start, end = starts[old.lineno - 1] + old.col_offset, starts[old.end_lineno - 1] + old.end_col_offset
            text = ast.unparse(new) + "\n" * (old.end_lineno - old.lineno)  # lines below keep their numbers
            if isinstance(new, ast.expr) and not isinstance(new, ast.Constant):
                text = f"({text})"
            before = source[start:end].decode()
            found.append(Mutant(subject, str(PACKAGE / name), old.lineno, start, end, before, text, digest))
    return found


class Ran(NamedTuple):
    """How tests ended: survived, killed by the one that failed, or timed out."""

    outcome: str
    by: str
    wall: float
    cpu: float


def ran(folder: Path, tests: str, wall: float, cpu: int) -> Ran:
    """Run tests in a fork, which takes so many seconds at most."""
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        test(folder, tests.split(), cpu)
    handle = os.pidfd_open(child)
    ended, _, _ = select.select([handle], [], [], wall)
    os.close(handle)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    late = not ended or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU)
    outcome = "timed out" if late else "killed" if status else "survived"
    failed = re.search(r"^(?:FAILED|ERROR) (tests/\S+)", (folder / "log").read_text(errors="replace"), re.M)
    return Ran(outcome, failed[1] if failed else "", time.perf_counter() - started, usage.ru_utime + usage.ru_stime)


def test(folder: Path, tests: Sequence[str], cpu: int) -> NoReturn:
    """Be pytest in a copy."""
    try:
        os.setpgid(0, 0)  # a group and no session: Linux gives sessions equal shares of a processor, whatever nice says
        die_with_parent()
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
        resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
        os.chdir(folder)
        os.mkdir("tmp")
        log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
            os.dup2(file, number)
        os.environ |= {"PYTHONPATH": f"{folder}/start:{folder}/src", "TMPDIR": f"{folder}/tmp"}
        tempfile.tempdir = None  # what this process took before
        sys.dont_write_bytecode = False  # tests are compiled once
        sys.path.insert(0, f"{folder}/src")
        exec(START)
        import pytest

        words = "-x -q -W ignore::pytest.PytestAssertRewriteWarning -p no:cacheprovider"
        left_out = [f"--deselect={path(name)}" for name in UNSTEADY]
        options = [*words.split(), "--basetemp=tmp/tests", "-m", f"not ({SLOW})", *left_out]
        os._exit(pytest.main([*options, *map(path, tests)]))
    except BaseException:  # noqa: BLE001 - the fork must not go on as a second worker
        traceback.print_exc()
        os._exit(99)


def path(name: str) -> str:
    """The file of a test, or one test of it."""
    file, colons, one = name.partition("::")
    return f"tests/test_{file}.py{colons}{one}"


def die_with_parent() -> None:
    """Be killed when the process that started this one ends, however it does."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def copied(folder: Path) -> None:
    """A copy of the working tree, with the engines that were built in it."""
    listed = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    for name in filter(lambda name: (ROOT / name).is_file(), listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    for built in ROOT.glob(f"build/*/_*{sysconfig.get_config_var('EXT_SUFFIX')}"):
        shutil.copy(built, folder / PACKAGE / "families" / built.name.split(".")[0][1:])
    (folder / "start").mkdir()
    (folder / "start" / "sitecustomize.py").write_text(START)
    # By their hash, since a fault can leave a file's time and size as they were.
    words = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", str(folder / "src")]
    subprocess.run([sys.executable, *words], check=True)


def work(out: Path, whole: Path, drawn: Sequence[Mutant]) -> None:
    """Judge the mutants of one subject in a copy of its own, a row for each."""
    if not drawn:
        return
    subject = drawn[0].subject
    shutil.copytree(whole, folder := whole.with_name(subject))
    limits: dict[str, tuple[float, int]] = {}

    def passed(tests: str) -> None:
        sound = ran(folder, tests, 3600, 3600)
        if sound.outcome != "survived":  # a busy machine fails a test now and then
            why = re.findall(r"^E .*", (folder / "log").read_text(errors="replace"), re.M)
            print(f"{subject}: {sound.by or 'pytest'} {sound.outcome} without a fault: {why[:3]}", file=sys.stderr)
            sound = ran(folder, tests, 3600, 3600)
        if sound.outcome != "survived":
            raise RuntimeError(f"{subject}: {sound.by or 'pytest'} is {sound.outcome} without a fault")
        print(f"{subject}: {sound.cpu:.1f} s of CPU without a fault: {tests}", file=sys.stderr)
        limits[tests] = 10 * sound.wall + 300, int(3 * sound.cpu) + 10  # the first is for what waits for ever

    for number, mutant in enumerate(drawn, start=1):
        row: dict[str, Any] = mutant._asdict() | {"seconds": 0.0}
        file = folder / mutant.file
        source = file.read_bytes()
        for stage, tests in enumerate(SUBJECTS[subject][1:], start=1):
            if tests not in limits:
                passed(tests)
            file.write_bytes(source[: mutant.start] + mutant.after.encode() + source[mutant.end :])
            found = ran(folder, tests, *limits[tests])
            file.write_bytes(source)
            seconds = round(row["seconds"] + found.cpu, 1)
            row |= {"outcome": found.outcome, "by": found.by, "stage": stage, "seconds": seconds}
            if found.outcome != "survived":
                break
        what = f"{mutant.file}:{mutant.line} {row['outcome']} in {seconds} s of CPU {row['by']}"
        print(f"{subject} {number}/{len(drawn)}: {what}", file=sys.stderr)
        with out.open("a") as rows:
            rows.write(json.dumps(row) + "\n")
    passed(SUBJECTS[subject][1])  # else a fault left something behind, and the rows after it are wrong


def report(rows: Sequence[dict[str, Any]]) -> str:
    """The table and the survivors."""
    outcomes = ("killed", "timed out", "survived")
    lines = [f"| subject | mutants | {' | '.join(outcomes)} |", "|---|---|---|---|---|"]
    for subject in (*SUBJECTS, "all"):
        ended = Counter(row["outcome"] for row in rows if subject in (row["subject"], "all"))
        lines.append(f"| {subject} | {ended.total()} | {' | '.join(str(ended[one]) for one in outcomes)} |")
    lines.append("")
    for row in rows:
        if row["outcome"] == "survived":
            before, after = (" ".join(row[name].split()) for name in ("before", "after"))
            lines.append(f"- {row['subject']}, {row['file']}:{row['line']}: `{before}` -> `{after}`")
    return "\n".join(lines)


def read(out: Path) -> dict[Mutant, dict[str, Any]]:
    """The rows that are there."""
    rows = map(json.loads, out.read_text().splitlines()) if out.exists() else ()
    return {Mutant(*(row[name] for name in Mutant._fields)): row for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=200, help="of mutants, shared by the subjects")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--workers", type=int, default=2, help="subjects at a time, a thread each")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutants.jsonl", help="rows; none is made twice")
    parser.add_argument("--again", action="store_true", help="judge anew what survived, after tests were added")
    options = parser.parse_args()
    out = options.out.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the copies go
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as temporary:
        copied(whole := Path(temporary, "whole"))
        drawn = {}
        for index, subject in enumerate(SUBJECTS):
            found = mutants(whole, subject)
            random.Random(f"{options.seed} {subject}").shuffle(found)
            drawn[subject] = found[: len(range(index, options.number, len(SUBJECTS)))]
            print(f"{subject}: {len(drawn[subject])} of {len(found)} mutants", file=sys.stderr)
        known = {one: row for one, row in read(out).items() if not (options.again and row["outcome"] == "survived")}
        left = [[mutant for mutant in some if mutant not in known] for some in drawn.values()]
        runpy.run_path(str(ROOT / "tests" / "conftest.py"))  # what it sets has to be there before torch is imported
        for name in HEAVY:
            importlib.import_module(name)
        import hypothesis

        # Pydantic warns once of its classes, which a test would take for a fault.
        sys.modules["litellm"].ModelResponse()
        assert "envgen_exp" not in sys.modules, "a fault would not be seen"
        assert len(os.listdir("/proc/self/task")) == 1, "forking needs a process of one thread"
        # On a busy machine an example has no time limit; the first that fails will do; the next fault finds its own.
        calm: dict[str, Any] = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
        calm["phases"] = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        hypothesis.settings.register_profile("mutants", database=None, derandomize=True, **calm)
        hypothesis.settings.load_profile("mutants")
        gc.freeze()
        with multiprocessing.get_context("fork").Pool(options.workers, die_with_parent) as pool:
            try:
                for _ in pool.imap_unordered(functools.partial(work, out, whole), left):
                    pass
            except RuntimeError as error:
                sys.exit(f"mutants: {error}")
    known = read(out)
    print(report([known[mutant] for some in drawn.values() for mutant in some]))


if __name__ == "__main__":
    main()
