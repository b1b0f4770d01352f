"""KubeRay's RayCluster and RayJob as strict models.

Written after KubeRay's Go types (ray.io/v1 of operator 1.6, the oldest that the manifests support),
with the main rules that the operator applies to an object after the API server has taken it. No
package was found that ships the official definition (CRD); with a cluster at hand
`kubectl apply --dry-run=server` checks against it. Pod templates are left to Kubernetes' own schema
(tests/infra/kubernetes.py).
"""

from __future__ import annotations

from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

# A RayCluster's name becomes part of its pods' names; KubeRay adds to a RayJob's.
_CLUSTER_NAME = r"^[a-z]([a-z0-9-]{0,51}[a-z0-9])?$"
_JOB_NAME = r"^[a-z]([a-z0-9-]{0,45}[a-z0-9])?$"
_FIRST_RAY_WITH_TOKENS = (2, 52)


class Strict(BaseModel):
    """Unknown keys and convertible types ("2" for 2) are errors, as they are to the API server."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Strict):
    """The part of an object's metadata that a manifest may set."""

    name: str
    namespace: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class AuthOptions(Strict):
    """Ray's token authentication."""

    mode: Literal["disabled", "token"] = "token"
    secretName: str | None = None
    enableK8sTokenAuth: bool | None = None


class AutoscalerOptions(Strict):
    """The autoscaler's container beside the head."""

    version: Literal["v1", "v2"] | None = None
    upscalingMode: Literal["Default", "Aggressive", "Conservative"] | None = None
    idleTimeoutSeconds: int | None = Field(None, ge=0)
    image: str | None = None
    imagePullPolicy: Literal["Always", "IfNotPresent", "Never"] | None = None
    resources: dict[str, Any] | None = None
    securityContext: dict[str, Any] | None = None
    env: list[dict[str, Any]] | None = None
    envFrom: list[dict[str, Any]] | None = None
    volumeMounts: list[dict[str, Any]] | None = None


class Group(Strict):
    """What head and workers have in common."""

    template: dict[str, Any]
    # Command line flags: text, whatever they mean.
    rayStartParams: dict[str, str] = {}
    resources: dict[str, str] = {}
    labels: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_place_for_resources(self) -> Self:
        flags = {"num-cpus", "num-gpus", "memory", "resources"} & set(self.rayStartParams)
        if flags and self.resources:
            raise ValueError("resources are given in rayStartParams and in resources: use one")
        if "labels" in self.rayStartParams:
            raise ValueError("rayStartParams.labels is not supported: use labels")
        if not self.template.get("spec", {}).get("containers"):
            raise ValueError("the template has no container")
        return self


class HeadGroup(Group):
    """The head's pod."""

    serviceType: Literal["ClusterIP", "NodePort", "LoadBalancer"] | None = None
    headService: dict[str, Any] | None = None
    enableIngress: bool | None = None


class WorkerGroup(Group):
    """Pods of one kind, from minReplicas to maxReplicas of them."""

    groupName: str
    replicas: int = Field(0, ge=0)
    minReplicas: int = Field(0, ge=0)
    maxReplicas: int = Field(2**31 - 1, ge=0)
    idleTimeoutSeconds: int | None = Field(None, ge=0)
    numOfHosts: int = Field(1, ge=1)
    suspend: bool | None = None
    scaleStrategy: dict[str, list[str]] | None = None

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        if not self.minReplicas <= self.replicas <= self.maxReplicas:
            raise ValueError("replicas must lie between minReplicas and maxReplicas")
        return self


class RayClusterSpec(Strict):
    """A cluster: one head and groups of workers."""

    rayVersion: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    headGroupSpec: HeadGroup
    workerGroupSpecs: list[WorkerGroup] = []
    authOptions: AuthOptions | None = None
    enableInTreeAutoscaling: bool | None = None
    autoscalerOptions: AutoscalerOptions | None = None
    gcsFaultToleranceOptions: dict[str, Any] | None = None
    headServiceAnnotations: dict[str, str] | None = None
    upgradeStrategy: dict[str, Any] | None = None
    managedBy: str | None = None
    suspend: bool | None = None

    @model_validator(mode="after")
    def _operator_rules(self) -> Self:
        version = tuple(int(part) for part in self.rayVersion.split(".")[:2])
        if self.authOptions and version < _FIRST_RAY_WITH_TOKENS:
            raise ValueError("token authentication needs Ray 2.52 or later")
        if not self.enableInTreeAutoscaling:
            if self.autoscalerOptions:
                raise ValueError("autoscalerOptions are given but autoscaling is off")
            return self
        groups: list[Group] = [self.headGroupSpec, *self.workerGroupSpecs]
        policies = {group.template["spec"].get("restartPolicy", "Never") for group in groups}
        if policies != {"Never"}:
            raise ValueError("autoscaler v2 replaces pods: restartPolicy must be Never or unset")
        return self


class RayJobSpec(Strict):
    """A job, with a cluster of its own or on a standing one."""

    entrypoint: str = Field(min_length=1)
    submissionMode: Literal["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"] = (
        "K8sJobMode"
    )
    rayClusterSpec: RayClusterSpec | None = None
    clusterSelector: dict[str, str] | None = None
    submitterPodTemplate: dict[str, Any] | None = None
    submitterConfig: dict[Literal["backoffLimit"], int] | None = None
    shutdownAfterJobFinishes: bool = False
    ttlSecondsAfterFinished: int = Field(0, ge=0)
    activeDeadlineSeconds: int | None = Field(None, ge=1)
    preRunningDeadlineSeconds: int | None = Field(None, ge=1)
    backoffLimit: int = Field(0, ge=0)
    runtimeEnvYAML: str | None = None
    jobId: str | None = None
    metadata: dict[str, str] | None = None
    deletionStrategy: dict[str, Any] | None = None
    entrypointNumCpus: float | None = Field(None, ge=0)
    entrypointNumGpus: float | None = Field(None, ge=0)
    entrypointResources: str | None = None
    managedBy: str | None = None
    suspend: bool | None = None

    @model_validator(mode="after")
    def _operator_rules(self) -> Self:
        if (self.rayClusterSpec is None) == (self.clusterSelector is None):
            raise ValueError("give rayClusterSpec or clusterSelector, one of them")
        if self.ttlSecondsAfterFinished and not self.shutdownAfterJobFinishes:
            raise ValueError("ttlSecondsAfterFinished needs shutdownAfterJobFinishes: true")
        if self.clusterSelector and self.backoffLimit:
            raise ValueError("backoffLimit does not work with clusterSelector")
        if self.submissionMode == "SidecarMode" and self.submitterPodTemplate:
            raise ValueError("SidecarMode has no submitter pod")
        if not isinstance(yaml.safe_load(self.runtimeEnvYAML or "{}"), dict):
            raise ValueError("runtimeEnvYAML is not a YAML mapping")
        return self


class RayCluster(Strict):
    """The RayCluster object."""

    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayJob(Strict):
    """The RayJob object."""

    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec


class _Name(Strict):
    cluster: str = Field("a", pattern=_CLUSTER_NAME)
    job: str = Field("a", pattern=_JOB_NAME)


def problems(document: dict[str, Any]) -> list[str]:
    """What is wrong with a RayCluster or RayJob, one line each."""
    kinds: dict[str, type[BaseModel]] = {"RayCluster": RayCluster, "RayJob": RayJob}
    model = kinds.get(document.get("kind", ""))
    if model is None:
        return [f"{document.get('kind')} is no kind of KubeRay's that is known here"]
    name = document.get("metadata", {}).get("name", "")
    try:
        model.model_validate(document)
        _Name(**{"cluster" if model is RayCluster else "job": name})
    except ValidationError as error:
        return [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    return []


def pod_templates(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every pod template of a RayCluster or RayJob, by the path it stands at."""
    spec = document["spec"]
    found = {}
    if "submitterPodTemplate" in spec:
        found["submitterPodTemplate"] = spec["submitterPodTemplate"]
    cluster = spec.get("rayClusterSpec", spec)
    found["headGroupSpec"] = cluster["headGroupSpec"]["template"]
    for group in cluster.get("workerGroupSpecs", []):
        found[f"workerGroupSpecs.{group['groupName']}"] = group["template"]
    return found
