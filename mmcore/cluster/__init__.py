"""One way to run work on Ray."""

from mmcore.cluster.group import GroupSettings, Member, run_group
from mmcore.cluster.parts import map_parts
from mmcore.cluster.progress import post, progress, say
from mmcore.cluster.session import ClusterSettings, available_cpus, connect, require_cpus

__all__ = [
    "ClusterSettings",
    "GroupSettings",
    "Member",
    "available_cpus",
    "connect",
    "map_parts",
    "post",
    "progress",
    "require_cpus",
    "run_group",
    "say",
]
