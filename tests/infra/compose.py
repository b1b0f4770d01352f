"""Checks of the compose file: the compose specification's schema, and the files it names."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from tests.infra import dockerfile
from tests.infra.repository import INFRA, read

_VARIABLE = re.compile(r"\$\{(\w+)(:[?-])?")
_SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|ROOT_USER")
_PINNED = re.compile(r"^[\w./-]+:[\w.-]*\d[\w.-]*$")


def load(text: str) -> dict[str, Any]:
    """The compose file as data."""
    return yaml.safe_load(text)


def example_environment() -> dict[str, str]:
    """Names and values of .env.example."""
    lines = read("infra/docker/.env.example").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value for name, value in pairs}


def substitute(text: str) -> str:
    """The text with the values of .env.example in place of ${NAME...}."""
    values = example_environment()
    return re.sub(r"\$\{(\w+)[^}]*\}", lambda match: values.get(match[1], ""), text)


def problems(text: str) -> list[str]:
    """Everything that is wrong with the compose file."""
    data = load(text)
    found = _schema(data)
    if found:
        return found
    services = data["services"]
    for name, service in services.items():
        found += _dependencies(name, service, services)
        found += _build(name, service)
        found += _files(name, service, data.get("volumes", {}))
        found += _ports(name, service)
    return found + _variables(text)


def _schema(data: Any) -> list[str]:
    """What the compose specification's JSON schema refuses."""
    schema = get_builtin_schema("vendor.compose-spec")
    validator = jsonschema.validators.validator_for(schema)(schema)
    return [
        f"{error.json_path}: {error.message}: {[inner.message for inner in error.context or []]}"
        for error in validator.iter_errors(data)
    ]


def _dependencies(name: str, service: Any, services: Any) -> list[str]:
    found = []
    for other, rule in service.get("depends_on", {}).items():
        if other not in services:
            found.append(f"{name}: depends on {other}, which is no service")
        elif rule["condition"] == "service_healthy" and not _has_healthcheck(services[other]):
            found.append(f"{name}: waits for the health of {other}, which has no healthcheck")
    return found


def _has_healthcheck(service: Any) -> bool:
    if "healthcheck" in service:
        return True
    target = service.get("build", {}).get("target", "")
    known = dockerfile.stages(read("infra/docker/Dockerfile"))
    return dockerfile.inherited(target, "HEALTHCHECK", known) is not None


def _build(name: str, service: Any) -> list[str]:
    image = substitute(service["image"])
    found = [] if _PINNED.match(image) else [f"{name}: image {image} is not pinned"]
    build = service.get("build")
    if build is None:
        return found
    if build["target"] not in dockerfile.stages(read("infra/docker/Dockerfile")):
        found.append(f"{name}: the Dockerfile has no target {build['target']}")
    if not (INFRA / "docker" / build["context"] / build["dockerfile"]).is_file():
        found.append(f"{name}: there is no {build['dockerfile']} in {build['context']}")
    return found


def _files(name: str, service: Any, declared: Any) -> list[str]:
    found = []
    for volume in service.get("volumes", []):
        source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
        if source.startswith("${"):
            continue
        if source.startswith("."):
            if not (INFRA / "docker" / source).exists():
                found.append(f"{name}: mounts {source}, which is not there")
        elif source not in declared:
            found.append(f"{name}: volume {source} is not declared")
    return found


def _ports(name: str, service: Any) -> list[str]:
    return [
        f"{name}: port {port} is open to the network"
        for port in service.get("ports", [])
        if not str(port).startswith("127.0.0.1:")
    ]


def _variables(text: str) -> list[str]:
    """Every variable is in .env.example; a secret has no default anywhere."""
    example = example_environment()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = []
    for name, operator in sorted(set(_VARIABLE.findall(code))):
        if name not in example:
            found.append(f"{name} is not in .env.example")
        if _SECRET.search(name) and operator != ":?":
            found.append(f"{name} is a secret and must be required: ${{{name}:?...}}")
    for name, value in example.items():
        if _SECRET.search(name) and value:
            found.append(f".env.example gives the secret {name} a value")
    for service in load(text)["services"].values():
        for name, value in service.get("environment", {}).items():
            if _SECRET.search(name) and "${" not in str(value):
                found.append(f"{name} is a secret written in the compose file")
    return found


def built_images(text: str) -> set[str]:
    """Images that the compose file builds, with the version of .env.example."""
    services = load(substitute(text))["services"].values()
    return {service["image"] for service in services if "build" in service}
