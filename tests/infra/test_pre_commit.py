"""The pre-commit configuration: accepted by pre-commit, and its programs are in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from pre_commit.clientlib import InvalidConfigError, load_config

from tests.infra.repository import ROOT, broken, read, tool

PATH = ".pre-commit-config.yaml"


def test_hooks_are_local_and_their_programs_are_installed() -> None:
    config = load_config(str(ROOT / PATH))
    for repository in config["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            folder, program = hook["entry"].split()[0].rsplit("/", 1)
            assert folder == ".venv/bin"
            assert Path(tool(program)).exists(), program


@pytest.mark.parametrize(
    ("old", "new"),
    [("repos:", "repositories:"), ("id: mypy", "idd: mypy"), ("types: [python]", "types: [snake]")],
)
def test_broken_configuration_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(broken(read(PATH), old, new), encoding="utf-8")
    with pytest.raises(InvalidConfigError):
        load_config(str(path))
