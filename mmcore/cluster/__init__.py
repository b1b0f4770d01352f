"""One way to run work on Ray."""

from mmcore.cluster.group import GroupSettings, Member, run_group
from mmcore.cluster.parts import map_parts
from mmcore.cluster.progress import (
    Listener,
    Record,
    catch_up,
    flush,
    listening,
    numbers,
    post,
    progress,
    report,
    say,
)
from mmcore.cluster.session import ClusterSettings, available_cpus, connect, require_cpus

__all__ = [
    "ClusterSettings",
    "GroupSettings",
    "Listener",
    "Member",
    "Record",
    "available_cpus",
    "catch_up",
    "connect",
    "flush",
    "listening",
    "map_parts",
    "numbers",
    "post",
    "progress",
    "report",
    "require_cpus",
    "run_group",
    "say",
]
