"""Checks of Kubernetes manifests: Kubernetes' own schema, KubeRay's, and this project's rules."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import yaml

from tests.infra import kuberay

# Not the newest: manifests should not need a cluster that was upgraded yesterday.
API_VERSION = "1.33"


def problems(text: str, images: set[str]) -> list[str]:
    """Everything wrong with a manifest; `images` are those that the compose file builds."""
    found = []
    for document in yaml.safe_load_all(text):
        label = f"{document.get('kind')} {document.get('metadata', {}).get('name')}"
        if not document.get("apiVersion", "").startswith("ray.io/"):
            found += [f"{label}: {problem}" for problem in _schema(document)]
            continue
        of_ray = kuberay.problems(document)
        found += [f"{label}: {problem}" for problem in of_ray]
        if of_ray:
            continue
        for path, template in kuberay.pod_templates(document).items():
            pod = {"apiVersion": "v1", "kind": "PodTemplate", "template": template}
            of_pod = _schema(pod) or [*_restricted(template), *_pod(template, images)]
            found += [f"{label}: {path}: {problem}" for problem in of_pod]
    return found


def _schema(document: dict[str, Any]) -> list[str]:
    """What Kubernetes' strict schema refuses."""
    try:
        kubernetes_validate.validate(document, API_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [error.message]
    return []


def _restricted(template: dict[str, Any]) -> list[str]:
    """The main rules of the pod security standard `restricted`, which the namespace enforces."""
    pod = template["spec"].get("securityContext", {})
    found = []
    if not (pod.get("runAsNonRoot") and pod.get("runAsUser")):
        found.append("the pod may run as root")
    if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        found.append("the pod has no seccomp profile")
    for container in template["spec"]["containers"]:
        security = container.get("securityContext", {})
        if security.get("allowPrivilegeEscalation") is not False:
            found.append(f"{container['name']} may gain privileges")
        if security.get("capabilities", {}).get("drop") != ["ALL"]:
            found.append(f"{container['name']} keeps capabilities")
    return found


def _pod(template: dict[str, Any], images: set[str]) -> list[str]:
    """Images that are built here, resources that are bounded, volumes that exist."""
    volumes = {volume["name"] for volume in template["spec"].get("volumes", [])}
    found = []
    for container in template["spec"]["containers"]:
        name = container["name"]
        if container["image"] not in images:
            found.append(f"{name}: image {container['image']} is not one that compose builds")
        resources = container.get("resources", {})
        for side in ("requests", "limits"):
            if not {"cpu", "memory"} <= set(resources.get(side, {})):
                found.append(f"{name}: no {side} for cpu and memory")
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        found += [f"{name}: no volume {volume}" for volume in sorted(mounted - volumes)]
    return found


def referenced(document: dict[str, Any]) -> set[str]:
    """Secrets and config maps that an object expects in its namespace."""
    found: set[str] = set()

    def walk(value: Any, key: str = "") -> None:
        if isinstance(value, dict):
            if key in {"secretRef", "configMap", "configMapRef", "secretKeyRef"}:
                found.add(value["name"])
            for name, inner in value.items():
                if name == "secretName":
                    found.add(inner)
                walk(inner, name)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(document)
    return found
