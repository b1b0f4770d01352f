"""The manifests: valid for Kubernetes and KubeRay, and in step with the images and the code."""

from __future__ import annotations

import importlib.metadata
import shlex

import pytest
import yaml

from tests.infra import compose, kuberay, kubernetes
from tests.infra.repository import INFRA, broken, read

MANIFESTS = sorted(path.name for path in (INFRA / "kubernetes").glob("*.yaml"))
IMAGES = compose.built_images(read("infra/docker/compose.yaml"))


def problems(text: str) -> list[str]:
    return kubernetes.problems(text, IMAGES)


def test_there_is_a_cluster_and_a_job() -> None:
    assert {"raycluster.yaml", "rayjob-train.yaml"} <= set(MANIFESTS)
    assert "mmcore/ray:0.1.0" in IMAGES


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_is_valid(name: str) -> None:
    assert problems(read(f"infra/kubernetes/{name}")) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("namespace.yaml", "metadata:", "metadatum:", "metadatum"),
        ("network-policy.yaml", "policyTypes: [Ingress]", "policyTypes: Ingress", "policyTypes"),
        ("network-policy.yaml", "kind: NetworkPolicy", "kind: NetworkPolice", "find schema"),
        ("raycluster.yaml", "ray.io/v1", "ray.io/v1alpha1", "apiVersion"),
        ("raycluster.yaml", 'rayVersion: "2.60.0"', "rayVersion: 2.60", "rayVersion"),
        ("raycluster.yaml", "mode: token", "mode: tokens", "authOptions.mode"),
        ("raycluster.yaml", "minReplicas: 1", "minReplicas: 9", "between minReplicas"),
        ("raycluster.yaml", 'num-cpus: "0"', "num-cpus: 0", "num-cpus"),
        ("raycluster.yaml", "headGroupSpec:", "headGroup:", "headGroupSpec"),
        ("raycluster.yaml", "containerPort: 6379", "containerPort: gcs", "containerPort"),
        ("raycluster.yaml", "terminationGracePeriodSeconds", "gracePeriod", "gracePeriod"),
        ("raycluster.yaml", "mmcore/ray:0.1.0", "rayproject/ray:2.60.0", "not one that compose"),
        ("raycluster.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
        ("raycluster.yaml", "drop: [ALL]", "drop: [NET_RAW]", "keeps capabilities"),
        ("raycluster.yaml", 'limits: {cpu: "4", memory: 16Gi}', "limits: {}", "no limits"),
        ("raycluster.yaml", "- name: recipe\n", "- name: recipes\n", "no volume recipe"),
        ("raycluster.yaml", "  name: mmcore\n", "  name: MMcore\n", "cluster"),
        ("rayjob-train.yaml", "entrypoint:", "entryPoint:", "entryPoint"),
        ("rayjob-train.yaml", "K8sJobMode", "JobMode", "submissionMode"),
        ("rayjob-train.yaml", "Finishes: true", "Finishes: false", "ttlSecondsAfterFinished"),
        ("rayjob-train.yaml", "activeDeadlineSeconds: 21600", "activeDeadlineSeconds: 0", "active"),
        ("rayjob-train.yaml", "restartPolicy: Never", "restartPolicy: [Never]", "restartPolicy"),
    ],
)
def test_broken_manifest_is_refused(name: str, old: str, new: str, complaint: str) -> None:
    found = problems(broken(read(f"infra/kubernetes/{name}"), old, new))
    assert any(complaint in problem for problem in found), found


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob-train.yaml"])
def test_manifest_names_the_ray_that_is_installed(name: str) -> None:
    spec = yaml.safe_load(read(f"infra/kubernetes/{name}"))["spec"]
    assert spec.get("rayClusterSpec", spec)["rayVersion"] == importlib.metadata.version("ray")


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob-train.yaml"])
def test_cluster_asks_for_a_token(name: str) -> None:
    spec = yaml.safe_load(read(f"infra/kubernetes/{name}"))["spec"]
    options = spec.get("rayClusterSpec", spec)["authOptions"]
    assert options == {"mode": "token", "secretName": "mmcore-ray-token"}


def test_job_runs_a_command_that_the_command_line_knows() -> None:
    from mmcore import graph
    from mmcore.cli import cli

    job = yaml.safe_load(read("infra/kubernetes/rayjob-train.yaml"))
    program, command, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert (program, command) == ("mmcore", "run")
    context = cli.commands[command].make_context(command, arguments)
    graph.check_stage(context.params["stage"])
    assert context.params["day"] == graph.check_day(context.params["day"])
    assert context.params["day"] in job["metadata"]["name"]
    mounts = [
        mount["mountPath"]
        for template in kuberay.pod_templates(job).values()
        for container in template["spec"]["containers"]
        for mount in container.get("volumeMounts", [])
    ]
    assert any(context.params["recipe_file"].startswith(mount + "/") for mount in mounts)


def test_readme_creates_every_secret_and_config_map() -> None:
    readme = read("infra/README.md")
    for name in ("raycluster.yaml", "rayjob-train.yaml"):
        wanted = kubernetes.referenced(yaml.safe_load(read(f"infra/kubernetes/{name}")))
        assert wanted == {"mmcore-ray-token", "mmcore-s3", "mmcore-recipe"}
        assert all(f"{word}" in readme for word in wanted)


def test_every_object_lives_in_the_same_namespace() -> None:
    for name in MANIFESTS:
        for document in yaml.safe_load_all(read(f"infra/kubernetes/{name}")):
            metadata = document["metadata"]
            assert metadata.get("namespace", metadata["name"]) == "mmcore"
