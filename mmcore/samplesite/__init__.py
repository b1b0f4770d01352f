"""A generated web site with a known truth: the demo's and the tests' world.

config = SiteConfig(seed=7, images=200)
with serve(config) as base_url:
    ...  # crawl base_url
truth(config, base_url)  # one row per image URL: what it shows, what must happen to it
"""

from __future__ import annotations

from mmcore.samplesite.config import SiteConfig
from mmcore.samplesite.dirt import dirt_counts
from mmcore.samplesite.drawing import render
from mmcore.samplesite.scenes import Face, Group, Scene, scenes
from mmcore.samplesite.server import serve
from mmcore.samplesite.truth import occurrence_truth, page_truth, truth, write_gold

__all__ = [
    "Face",
    "Group",
    "Scene",
    "SiteConfig",
    "dirt_counts",
    "occurrence_truth",
    "page_truth",
    "render",
    "scenes",
    "serve",
    "truth",
    "write_gold",
]
