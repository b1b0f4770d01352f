"""Registered models: a version carries the files of a candidate and of its evaluation.

Every change is safe to repeat: registering the same candidate again gives the same version, and an
alias moves last, so a run that dies half-way leaves the champion as it was.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mmcore.errors import MmcoreError, UserError
from mmcore.lake import Dataset, Lake
from mmcore.registry.client import open_client
from mmcore.registry.evidence import (
    headline_scores,
    loggable_metrics,
    loggable_params,
    read_scores,
    version_tags,
)
from mmcore.registry.files import local_folder
from mmcore.registry.gate import Decision, Gate, decide
from mmcore.registry.runs import DAY_TAG, DIGEST_TAG, experiment_id, run_of_candidate
from mmcore.registry.settings import RegistrySettings, locate

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
CANDIDATE = "candidate"
_EVALUATION = "mmcore.evaluation"
_SCORES = "mmcore.scores"
_PREVIOUS = "mmcore.previous_champion"
_DECISION = "mmcore.decision"
_TAG_CHARACTERS = 4500


@dataclass(frozen=True)
class ModelVersion:
    """One registered version; `scores` are the headline scores of its evaluation."""

    name: str
    version: int
    aliases: tuple[str, ...]
    scores: dict[str, float]
    candidate: str
    """Digest of the candidate dataset."""
    day: str
    """Partition of the candidate dataset."""
    run_id: str

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Promotion:
    """What became of a candidate."""

    version: ModelVersion
    decision: Decision


def register(
    settings: RegistrySettings, lake: Lake, name: str, candidate: Dataset, evaluation: Dataset
) -> ModelVersion:
    """Register a candidate with its evidence under the alias `candidate`.

    The same candidate digest gives the same version; a newer evaluation of it replaces the
    evidence. The version appears only when all its files are stored.
    """
    location = locate(settings, lake)
    client = open_client(location)
    _ensure_model(client, name)
    run_id = run_of_candidate(client, experiment_id(client, location, name), candidate.digest)
    scores = read_scores(evaluation)
    version = _version_of(client, name, candidate.digest)
    if version is None or version.tags.get(_EVALUATION) != evaluation.digest:
        _store(client, run_id, candidate, evaluation, scores)
    tags = version_tags(candidate, evaluation, scores) | {
        DIGEST_TAG: candidate.digest,
        DAY_TAG: candidate.manifest.partition or "",
        _EVALUATION: evaluation.digest,
        _SCORES: json.dumps(headline_scores(scores)),
    }
    if version is None:
        version = client.create_model_version(
            name, source=f"runs:/{run_id}/candidate", run_id=run_id, tags=tags
        )
    else:
        for key, value in tags.items():
            client.set_model_version_tag(name, str(version.version), key, value)
    client.set_registered_model_alias(name, CANDIDATE, str(version.version))
    return _find(client, name, int(version.version))


def promote(
    settings: RegistrySettings, lake: Lake, name: str, version: int, decision: Decision
) -> ModelVersion:
    """Move the alias `champion` to a version that passed the gate; MmcoreError if it did not.

    The version keeps the decision and the number of the champion before it, for `rollback`.
    """
    if not decision.passed:
        raise MmcoreError(
            f"{name}@{version} does not become champion: {' '.join(decision.reasons)}"
        )
    client = open_client(locate(settings, lake))
    before = _alias(client, name, CHAMPION)
    _record_decision(client, name, version, decision)
    if before == version:
        return _find(client, name, version)
    client.set_model_version_tag(name, str(version), _PREVIOUS, str(before or ""))
    client.set_registered_model_alias(name, CHAMPION, str(version))
    return _find(client, name, version)


def promote_if_better(
    settings: RegistrySettings,
    lake: Lake,
    name: str,
    gate: Gate,
    candidate: Dataset,
    evaluation: Dataset,
) -> Promotion:
    """Register a candidate, judge it, and make it champion if the gate is passed.

    An earlier day that is run again never takes the place of a later day's champion: it was
    trained on less, and repeating history must not change the present.
    """
    version = register(settings, lake, name, candidate, evaluation)
    decision = decide(read_scores(evaluation), gate)
    now = champion(settings, lake, name)
    if decision.passed and (now is None or now[0].day <= version.day):
        return Promotion(promote(settings, lake, name, version.version, decision), decision)
    _record_decision(open_client(locate(settings, lake)), name, version.version, decision)
    return Promotion(version, decision)


def rollback(settings: RegistrySettings, lake: Lake, name: str) -> ModelVersion:
    """Make the champion before the present one champion again; UserError if there was none."""
    client = open_client(locate(settings, lake))
    now = _alias(client, name, CHAMPION)
    if now is None:
        raise UserError(f"{name} has no champion to roll back from.")
    before = client.get_model_version(name, str(now)).tags.get(_PREVIOUS)
    if not before:
        raise UserError(f"{name}@{now} is the first champion: there is none to go back to.")
    client.set_registered_model_alias(name, CHAMPION, before)
    return _find(client, name, int(before))


def champion(
    settings: RegistrySettings,
    lake: Lake,
    name: str,
    *,
    before: str | None = None,
    other_than: str | None = None,
) -> tuple[ModelVersion, Path] | None:
    """The champion and a local folder with its files, or None while there is none.

    before: the champion that a run of this day starts from and is compared with, which is the
    newest one of an earlier day: a day that is run again must not meet its own result.
    other_than: digest of a candidate that must not be compared with itself. Where the champion
    does not count, the one before it is meant.
    """
    location = locate(settings, lake)
    client = open_client(location)
    number = _alias(client, name, CHAMPION)
    looked_at: set[int] = set()
    while number is not None and number not in looked_at:
        # A version that was promoted, replaced and promoted again closes a circle.
        looked_at.add(number)
        found = _find(client, name, number)
        if found.candidate != other_than and (before is None or found.day < before):
            return found, local_folder(client, location, found.run_id)
        earlier = client.get_model_version(name, str(number)).tags.get(_PREVIOUS)
        number = int(earlier) if earlier else None
    return None


def champion_folder(
    settings: RegistrySettings,
    lake: Lake,
    name: str,
    *,
    before: str | None = None,
    other_than: str | None = None,
) -> Path | None:
    """The folder that `champion` finds, or None."""
    found = champion(settings, lake, name, before=before, other_than=other_than)
    return found[1] if found else None


def list_models(settings: RegistrySettings, lake: Lake) -> list[dict[str, Any]]:
    """Every version of every model, newest first within a name; JSON-able."""
    client = open_client(locate(settings, lake))
    names = sorted(model.name for model in _all(client.search_registered_models))
    return [
        asdict(_model_version(version, _aliases(client, name)))
        for name in names
        for version in sorted(
            _all(client.search_model_versions, filter_string=f"name = '{name}'"),
            key=lambda version: -int(version.version),
        )
    ]


def resolve(settings: RegistrySettings, lake: Lake, reference: str) -> Path:
    """A local folder with the files of the model a person means.

    reference: a folder; `champion`, `candidate` or a version number (where one model is
    registered); or `NAME@ALIAS`, `NAME@VERSION`. UserError says what there is to choose from.
    """
    if Path(reference).is_dir():
        return Path(reference)
    location = locate(settings, lake)
    client = open_client(location)
    name, _, which = reference.rpartition("@")
    name = name or _only_model(client, reference)
    version = int(which) if which.isdigit() else _alias(client, name, which)
    known = {v.version: v for v in _versions(client, name)}
    if version not in known:
        listed = sorted({str(v) for v in known} | set(_aliases(client, name)))
        choice = ", ".join(f"{name}@{item}" for item in listed) or "none yet"
        raise UserError(
            f"There is no model {reference}: choose a folder or one of {choice} (`mmcore models`)."
        )
    return local_folder(client, location, known[version].run_id)


def _store(
    client: MlflowClient,
    run_id: str,
    candidate: Dataset,
    evaluation: Dataset,
    scores: dict[str, Any],
) -> None:
    """The run of a version: settings, scores and files."""
    from mlflow.entities import Metric, Param

    # MLflow refuses a parameter that changes; the first attempt's stand.
    logged = client.get_run(run_id).data.params
    params = loggable_params(candidate.manifest.config)
    client.log_batch(
        run_id,
        metrics=[Metric(key, value, 0, 0) for key, value in loggable_metrics(scores).items()],
        params=[Param(key, value) for key, value in params.items() if key not in logged],
    )
    with TemporaryDirectory() as folder:
        for dataset in (candidate, evaluation):
            files = dataset.download(Path(folder) / dataset.manifest.name)
            client.log_artifacts(run_id, str(files), dataset.manifest.name)
    client.set_terminated(run_id, "FINISHED")


def _record_decision(client: MlflowClient, name: str, version: int, decision: Decision) -> None:
    run_id = _find(client, name, version).run_id
    client.log_dict(run_id, decision.to_dict(), "decision.json")
    verdict = "passed" if decision.passed else "refused: " + " ".join(decision.reasons)
    client.set_model_version_tag(name, str(version), _DECISION, verdict[:_TAG_CHARACTERS])


def _ensure_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise MmcoreError(f"The registry refuses the model name {name}: {error}") from error


def _version_of(client: MlflowClient, name: str, digest: str) -> Any:
    found = client.search_model_versions(f"name = '{name}' and tags.`{DIGEST_TAG}` = '{digest}'")
    return min(found, key=lambda version: int(version.version), default=None)


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    aliases = _aliases(client, name)
    found = _all(client.search_model_versions, filter_string=f"name = '{name}'")
    return [_model_version(version, aliases) for version in found]


def _find(client: MlflowClient, name: str, version: int) -> ModelVersion:
    return _model_version(client.get_model_version(name, str(version)), _aliases(client, name))


def _model_version(version: Any, aliases: dict[str, int]) -> ModelVersion:
    number = int(version.version)
    return ModelVersion(
        name=version.name,
        version=number,
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == number)),
        scores=json.loads(version.tags.get(_SCORES, "{}")),
        candidate=version.tags.get(DIGEST_TAG, ""),
        day=version.tags.get(DAY_TAG, ""),
        run_id=version.run_id,
    )


def _aliases(client: MlflowClient, name: str) -> dict[str, int]:
    """Alias to version; empty for a model that is not registered."""
    from mlflow.exceptions import MlflowException

    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    return {alias: int(version) for alias, version in aliases.items()}


def _alias(client: MlflowClient, name: str, alias: str) -> int | None:
    return _aliases(client, name).get(alias)


def _only_model(client: MlflowClient, reference: str) -> str:
    names = sorted(model.name for model in _all(client.search_registered_models))
    if len(names) == 1:
        return names[0]
    if not names:
        raise UserError(
            f"There is no model {reference}: nothing is registered yet and it is no folder; run "
            "`mmcore run all` first."
        )
    choice = ", ".join(f"{name}@{reference}" for name in names)
    raise UserError(f"{reference} could be any of several models: say {choice}.")


def _all(search: Any, **arguments: Any) -> list[Any]:
    """Every page of an MLflow search."""
    found: list[Any] = []
    token = None
    while True:
        page = search(**arguments, page_token=token)
        found += page
        token = page.token
        if not token:
            return found
