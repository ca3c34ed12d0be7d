"""The README's commands and code do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
MARK = "<!-- run by tests/test_readme.py -->\n```"


def test_snippets_run_in_the_order_they_stand(tmp_path: Path):
    blocks = re.findall(MARK + r"(\w*)\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert [language for language, _ in blocks] == ["", "python"]
    environment = _environment()
    printed = ""
    for language, code in blocks:
        program = [sys.executable, "-W", "error", "-c"] if language == "python" else ["bash", "-euo", "pipefail", "-c"]
        result = subprocess.run(
            [*program, code], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        printed += result.stdout
    # From the shell: where Mary is, with the passes drawn; from Python: where John is.
    assert re.search(r"^office +\d", printed, flags=re.MULTILINE)
    assert "pass 3" in printed
    assert re.search(r"^garden 0\.", printed, flags=re.MULTILINE)


def test_the_answer_that_is_shown_is_what_the_command_prints(tmp_path: Path):
    shown = re.search(
        r"<!-- printed by the second command above -->\n```\n(.*?)```", README.read_text(), flags=re.DOTALL
    )
    command = re.search(r"^printf .* --model .*$", README.read_text(), flags=re.MULTILINE)
    assert shown
    assert command
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command[0]],
        cwd=tmp_path,
        env=_environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    printed = [line.rstrip() for line in result.stdout.splitlines()]
    assert printed == shown[1].splitlines()


def _environment() -> dict[str, str]:
    # The command that belongs to this interpreter comes first.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}


def test_every_documented_command_exists():
    from typer.main import get_command

    from dmnplus.cli.app import app

    for line in re.findall(r"^dmnplus (.*)$", README.read_text(), flags=re.MULTILINE):
        command = get_command(app)
        for word in line.split():
            commands = getattr(command, "commands", {})
            if word not in commands:
                assert not commands, f"{word} in {line!r}"
                break
            command = commands[word]
        options = {name for parameter in command.params for name in parameter.opts}
        assert set(re.findall(r"(?<= )--[a-z-]+", line)) <= options, line


def test_the_results_are_what_the_records_say():
    from dmnplus.cli.results import read_records, table, types_table

    marked = r"<!-- printed by: dmnplus results (\S+)( --by-type)? -->\n(.*?)\n\n"
    documents = README, README.parent / "docs" / "dmn_max.md"
    tables = [found for path in documents for found in re.findall(marked, path.read_text(), flags=re.DOTALL)]
    assert len(tables) >= 4
    for folder, by_type, printed in tables:
        records = read_records(README.parent / folder)
        assert printed == (types_table(records) if by_type else table(records)), folder
