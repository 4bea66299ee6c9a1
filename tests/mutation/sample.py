"""Whether tests notice when the code is wrong: a random sample of mutants, and which survived.

    pip install cosmic-ray
    python tests/mutation/sample.py OUT --count 150 --seed 0 --minutes 60
    python tests/mutation/sample.py OUT --only turn.py,game.py --count 15

cosmic-ray says which mutants there are and makes them. One is drawn for each of `--count` places of
the modules of modules.toml, and the tests named there are run against it in a copy of the checkout,
until one fails. OUT holds `results.jsonl`, to which each result is added, so that the same command
goes on where it stopped, and `survivors.md`. A survivor's tests are run again by `--again`.
Tests run in forks of one process (`tests_in_forks.py`), which has imported what takes longest.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

ROOT = Path(__file__).parents[2]
COPIED = ("ganforge", "tests", "recipes", "plugins", "docs", "pyproject.toml", "README.md")
QUICKEST = 6  # tests are tried before all others
SLOWEST = 5  # times what the tests take without a mutation, after which a mutant counts as noticed
# No mutation of these is one that a test could see: they are of types, of names alone, or of loops
# whose end is decided elsewhere.
IGNORED = ("core/ExceptionReplacer", "core/RemoveDecorator", "core/ZeroIterationForLoop")


def places(module: str) -> Iterator[dict[str, Any]]:
    """Every mutant of a module that is not in an annotation: where it is, and how it is made."""
    source = (ROOT / module).read_text(encoding="utf-8")
    unseen = list(_unseen(ast.parse(source)))
    nodes = list(ast_nodes(get_ast(source)))
    for name in plugins.operator_names():
        cls = plugins.get_operator(name)
        if name in IGNORED or cls.arguments():
            continue
        operator = cls()
        positions = ((s, e) for node in nodes for s, e in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(positions):
            if not any(first <= start < last for first, last in unseen):
                yield {
                    "module": module,
                    "operator": name,
                    "occurrence": occurrence,
                    "place": [*start, *end],
                }


def _unseen(tree: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations and what only type checkers read begin and end."""
    for node in ast.walk(tree):
        found: list[ast.AST | None] = [getattr(node, "annotation", None)]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.append(node.returns)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            found.append(node)
        for one in found:
            if isinstance(one, (ast.expr, ast.stmt)):
                assert one.end_lineno is not None and one.end_col_offset is not None
                yield (one.lineno, one.col_offset), (one.end_lineno, one.end_col_offset)


def drawn(modules: Sequence[str], count: int, seed: int) -> list[dict[str, Any]]:
    """One mutant at each of so many places, the same for a seed."""
    by_place: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for module in modules:
        for mutant in places(module):
            by_place[f"{module} {mutant['place']}"].append(mutant)
    draws = random.Random(seed)
    chosen = draws.sample(sorted(by_place), min(count, len(by_place)))
    return [draws.choice(by_place[place]) for place in chosen]


def tests_of(table: dict[str, Any], module: str) -> list[str]:
    """The files of tests that are to notice a mutation of a module."""
    named = next(room[module] for room in table.values() if module in room)
    return [f"tests/{name}" for name in named]


class Copy:
    """A copy of the checkout, whose modules are mutated in place of the checkout's."""

    def __init__(self, folder: Path, left_out: Sequence[str]) -> None:
        self.folder = folder
        self.left_out = left_out  # tests that are not tried, by words of their names
        shutil.rmtree(folder, ignore_errors=True)
        for name in COPIED:
            source = ROOT / name
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy(source, folder / name)
        # Bytecode halves the start, and is of a module's time and size: each mutation has its own.
        environment = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(folder.with_name("bytecode")),
        }
        self._forks = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("tests_in_forks.py")],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def passes(self, tests: Sequence[str], limit: float) -> bool | None:
        """Whether these tests pass; None where they take longer than so many seconds."""
        passed: bool | None = self._told({"tests": tests, "limit": limit})
        return passed

    def traced(self, file: str) -> dict[str, dict[str, Any]]:
        """Of each test of a file, by its id: its `seconds`, and the `lines` that it ran, by module.
        Under "" are the lines that importing ran, and whatever ran in no test."""
        content = hashlib.sha256((self.folder / file).read_bytes()).hexdigest()[:12]
        name = file.removesuffix(".py").replace("/", "-")
        kept = self.folder.with_name("traces") / f"{name}-{content}.json"
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            tests = [file, "-k", f"not ({' or '.join(self.left_out)})"]
            if not self._told({"tests": tests, "limit": 3600, "trace": str(kept.absolute())}):
                print(f"{file}: what fails without a mutation is left out")
        traced: dict[str, dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8"))
        return traced

    def _told(self, question: dict[str, Any]) -> Any:
        asked, told = self._forks.stdin, self._forks.stdout
        assert asked is not None and told is not None
        asked.write(json.dumps(question) + "\n")
        asked.flush()
        return json.loads(told.readline())

    def noticing(self, mutant: dict[str, Any], files: Sequence[str]) -> dict[str, float]:
        """The tests that run a mutant's lines, quickest first, with the seconds of each; all tests
        of these files where only importing runs them."""
        tests = {t: run for file in files for t, run in self.traced(file).items() if t}
        first, _, last, _ = mutant["place"]
        lines = set(range(first, last + 1))
        running = {
            t: run
            for t, run in tests.items()
            if lines & set(run["lines"].get(mutant["module"], ()))
        }
        seconds = {t: run["seconds"] for t, run in (running or tests).items()}
        return dict(sorted(seconds.items(), key=lambda pair: pair[1]))

    def tried(self, mutant: dict[str, Any], files: Sequence[str]) -> dict[str, Any]:
        """A mutant with what became of it: `noticed`, `survived`, `too slow` or `none`."""
        tests = self.noticing(mutant, files)
        file = self.folder / mutant["module"]
        source = file.read_text(encoding="utf-8")
        operator = plugins.get_operator(mutant["operator"])()
        mutated = mutate_code(source, operator, mutant["occurrence"])
        if mutated is None or mutated == source or not _is_python(mutated):
            return {**mutant, "outcome": "none", "diff": ""}
        lines = difflib.unified_diff(
            source.splitlines(), mutated.splitlines(), "", "", lineterm="", n=1
        )
        diff = "\n".join(list(lines)[2:])
        file.write_text(mutated, encoding="utf-8")
        try:
            # The quickest first, for which few files of tests are imported.
            for some in (list(tests)[:QUICKEST], list(tests)[QUICKEST:]):
                limit = SLOWEST * sum(tests[test] for test in some) + 60
                passed = not some or self.passes(some, limit)
                if not passed:
                    break
        finally:
            file.write_text(source, encoding="utf-8")
        outcome = {True: "survived", False: "noticed", None: "too slow"}[passed]
        return {**mutant, "outcome": outcome, "diff": diff}


def _is_python(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:  # some operators take the stars of arguments for multiplications
        return False
    return True


def _in_a_function(source: str, line: int) -> bool:
    """Whether a line is run by calls, and not by importing, as a default is."""
    functions = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef))
    return any(n.body[0].lineno <= line <= (n.end_lineno or line) for n in functions)


def report(results: Sequence[dict[str, Any]]) -> str:
    """How many were noticed, by module, and every survivor."""
    real = [result for result in results if result["outcome"] != "none"]
    lines = ["| module | mutants | noticed |", "|---|---|---|"]
    for module in sorted({result["module"] for result in real}):
        of = [result for result in real if result["module"] == module]
        noticed = sum(result["outcome"] != "survived" for result in of)
        lines.append(f"| `{module}` | {len(of)} | {noticed} |")
    noticed = sum(result["outcome"] != "survived" for result in real)
    share = noticed / max(1, len(real))
    lines += [f"| all | {len(real)} | {noticed} ({share:.0%}) |", "", "Survivors:", ""]
    for result in real:
        if result["outcome"] == "survived":
            line = result["place"][0]
            lines += [f"`{result['module']}:{line}`, {result['operator']}", "", "```diff"]
            lines += [result["diff"], "```", ""]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--only", default="", help="names of modules, with commas between them")
    parser.add_argument("--again", action="store_true", help="try those again that survived")
    parser.add_argument("--table", type=Path, default=Path(__file__).with_name("modules.toml"))
    asked = parser.parse_args()
    table = tomllib.loads(asked.table.read_text(encoding="utf-8"))
    left_out = table.pop("left_out")["tests"]
    wanted = set(filter(None, asked.only.split(",")))
    modules = [m for room in table.values() for m in room if not wanted or Path(m).name in wanted]
    end = time.monotonic() + 60 * asked.minutes
    asked.out.mkdir(parents=True, exist_ok=True)
    kept = asked.out / "results.jsonl"
    done = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    if asked.again:
        done = [result for result in done if result["outcome"] != "survived"]
        kept.write_text("".join(json.dumps(result) + "\n" for result in done), encoding="utf-8")
    known = {json.dumps([r[k] for k in ("module", "operator", "occurrence")]) for r in done}
    copy = Copy((asked.out / "copy").absolute(), left_out)
    for mutant in drawn(modules, asked.count, asked.seed):
        key = json.dumps([mutant[k] for k in ("module", "operator", "occurrence")])
        if key in known:
            continue
        if time.monotonic() > end:
            print("the time is over; the same command goes on")
            break
        result = copy.tried(mutant, tests_of(table, mutant["module"]))
        done.append(result)
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        print(f"{result['outcome']:9} {result['module']}:{result['place'][0]} {result['operator']}")
        (asked.out / "survivors.md").write_text(report(done), encoding="utf-8")


if __name__ == "__main__":
    main()
