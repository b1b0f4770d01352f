"""Shell scripts and the commands that the documentation tells people to type."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.infra.repository import INFRA, ROOT, broken, read, tool

SCRIPTS = sorted(path.relative_to(ROOT).as_posix() for path in INFRA.rglob("*.sh"))
PAGES = ["infra/README.md", "CONTRIBUTING.md"]


def syntax_errors(text: str, shell: str = "bash") -> str:
    answer = subprocess.run(
        [shell, "-n", "/dev/stdin"], input=text, capture_output=True, text=True, check=False
    )
    return answer.stderr


def warnings(text: str) -> str:
    answer = subprocess.run(
        [tool("shellcheck"), "--color=never", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout + answer.stderr


@pytest.mark.parametrize("path", SCRIPTS)
def test_script_is_sound_and_executable(path: str) -> None:
    text = read(path)
    shell = "bash" if "bash" in text.splitlines()[0] else "sh"
    assert syntax_errors(text, shell) == ""
    assert warnings(text) == ""
    assert (ROOT / path).stat().st_mode & 0o111


def test_broken_script_is_refused() -> None:
    text = read("infra/docker/postgres/10-databases.sh")
    assert "unexpected end of file" in syntax_errors(broken(text, "\n}\n", "\n"))
    assert "SC2086" in warnings(broken(text, '"$POSTGRES_USER"', "$POSTGRES_USER"))


def test_shell_commands_in_the_compose_file_are_sound() -> None:
    services = yaml.safe_load(read("infra/docker/compose.yaml"))["services"].values()
    snippets = [s["command"][-1] for s in services if "-euc" in s.get("command", [])]
    assert snippets
    for snippet in snippets:
        assert syntax_errors(snippet) == ""


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_documentation_are_sound(page: str) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", read(page), re.DOTALL)
    assert blocks
    for block in blocks:
        assert syntax_errors(block) == ""


@pytest.mark.parametrize("page", PAGES)
def test_files_that_the_documentation_names_exist(page: str) -> None:
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(page)):
        assert Path(folder, target).exists(), target
