"""The recipe: the one file a user writes. Every key has a default; unknown keys are refused."""

from __future__ import annotations

import difflib
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmcore.clean.stage import Config as CleanConfig
from mmcore.cluster.session import ClusterSettings
from mmcore.crawl.sources import Source
from mmcore.crawl.stage import Config as CrawlConfig
from mmcore.dedup.stage import Config as DedupConfig
from mmcore.errors import UserError
from mmcore.evaluate.stage import Config as EvaluateConfig
from mmcore.registry.gate import Gate
from mmcore.registry.settings import RegistrySettings
from mmcore.shards.stage import Config as ShardsConfig
from mmcore.tokenize.stage import Config as TokenizeConfig
from mmcore.train.stage import Config as TrainConfig
from mmcore.weak.stage import Config as WeakConfig


class SampleSiteSettings(BaseModel):
    """The generated demo site, served on loopback while crawl runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(2000, ge=20, le=100_000, description="Distinct images.")
    seed: int = Field(7, description="The same seed gives the same site, byte for byte.")
    port: int = Field(8420, ge=1024, le=65535, description="Loopback port; part of every URL.")
    first_day: date = Field(
        date(2026, 1, 1), description="Days after it see the second, changed edition of the site."
    )

    def edition(self, day: str) -> int:
        """Edition of the site a crawl on `day` sees: 1 up to the first day, then 2."""
        return 1 if date.fromisoformat(day) <= self.first_day else 2


class Recipe(BaseModel):
    """Everything that decides what a run does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        "mmcore",
        pattern=r"^[a-z][a-z0-9_-]{0,62}$",
        description="Name of the model in the registry: lower-case letters, digits, - and _.",
    )
    seed: int = Field(0, ge=0, description="Seed of every random choice.")
    sources: list[Source] = Field(min_length=1, description="Where images and texts come from.")
    gold: str | None = Field(
        None,
        description="JSONL of a few checked labels (image, captions, qa, tags, sentiment); "
        "evaluation uses it. Relative to this file.",
    )
    protect: list[str] = Field(
        [],
        description="Evaluation sets whose near-duplicates, images and texts, are never trained "
        "on: folders, .tar, .jsonl or .parquet files. Relative to this file.",
    )
    crawl: CrawlConfig = CrawlConfig()
    clean: CleanConfig = CleanConfig()
    dedup: DedupConfig = DedupConfig()
    tokenize: TokenizeConfig = TokenizeConfig()
    weak: WeakConfig = WeakConfig()
    shards: ShardsConfig = ShardsConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    gate: Gate = Gate()
    registry: RegistrySettings = RegistrySettings()
    cluster: ClusterSettings = ClusterSettings()
    samplesite: SampleSiteSettings | None = Field(
        None, description="The demo's generated site; leave it out for your own sources."
    )


def load_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe. Paths in it are made absolute, relative to the recipe's folder.

    Raises UserError naming the key's path and what is allowed there.
    """
    file = Path(path)
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"There is no recipe {file}: write one with `mmcore init {file}`."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise UserError(f"{file} is not valid YAML{line}: {_problem(error)}.") from None
    if not isinstance(data, dict):
        raise UserError(f"{file} must be a mapping of keys such as sources, train and seed.")
    return parse_recipe(data, str(file), file.parent.absolute())


def parse_recipe(data: dict[str, Any], where: str, folder: Path) -> Recipe:
    """Check a recipe given as plain data; `where` names it in errors."""
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{where}: " + "; ".join(_explain(e) for e in error.errors())) from None
    return _with_absolute_paths(recipe, folder)


def _with_absolute_paths(recipe: Recipe, folder: Path) -> Recipe:
    sources = [
        source
        if source.kind == "site" or "://" in source.path
        else source.model_copy(update={"path": str(folder / source.path)})
        for source in recipe.sources
    ]
    tokenize, clean, weak, train = recipe.tokenize, recipe.clean, recipe.weak, recipe.train
    functions = [
        str(folder / name) if name.rpartition(":")[0].endswith(".py") else name
        for name in weak.user_functions
    ]
    if tokenize.file:
        tokenize = tokenize.model_copy(update={"file": str(folder / tokenize.file)})
    if train.tower is not None:
        tower = train.tower.model_copy(update={"file": str(folder / train.tower.file)})
        train = train.model_copy(update={"tower": tower})
    if train.pretrained is not None:
        paths = {name: str(folder / path) for name, path in train.pretrained.given.items()}
        pretrained = train.pretrained.model_copy(update=paths)
        train = train.model_copy(update={"pretrained": pretrained})
    if clean.blocklist is not None:
        clean = clean.model_copy(update={"blocklist": str(folder / clean.blocklist)})
    changed = {
        "sources": sources,
        "gold": str(folder / recipe.gold) if recipe.gold else None,
        "protect": [str(folder / path) for path in recipe.protect],
        "tokenize": tokenize,
        "clean": clean,
        "train": train,
        "weak": weak.model_copy(update={"user_functions": functions}),
    }
    return recipe.model_copy(update=changed)


def _problem(error: Exception) -> str:
    return str(getattr(error, "problem", None) or "not UTF-8 text")


_KINDS = ("site", "urls", "warc", "folder", "webdataset")


def _explain(error: Any) -> str:
    """One pydantic error as `key.path: what is allowed`."""
    loc = [part for part in error["loc"] if part not in _KINDS]
    path = ".".join(str(part) for part in loc)
    if error["type"] == "extra_forbidden":
        allowed = _keys_at(loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), allowed, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        listing = f" Allowed here: {', '.join(allowed)}." if allowed else ""
        return f"{path}: unknown key.{hint}{listing}"
    if error["type"] == "missing":
        return f"{path}: missing; it must be given"
    given = error.get("input")
    shown = f" (got {given!r})" if isinstance(given, str | int | float | bool | None) else ""
    return f"{path}: {error['msg']}{shown}"


def _keys_at(loc: list[Any]) -> list[str]:
    """Keys allowed at a path of the recipe."""
    models: list[Any] = [Recipe]
    for part in loc:
        if isinstance(part, int):
            continue
        fields = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        models = [model for annotation in fields for model in _models_in(annotation)]
    return sorted({key for model in models for key in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Pydantic models named anywhere inside a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (list, Union, UnionType, Annotated, tuple):
        return [m for inner in get_args(annotation) for m in _models_in(inner)]
    return []


_HEAD = """\
# A recipe for mmcore: from your pages to a promoted image-text model.
# Lines that start with `#` and hold a key show a default; remove the `# ` to change it.
# Check and run:   mmcore run all --recipe {file}

name: {name}
seed: 0

sources:
  # A web site: every page of the start's host is visited, robots.txt is obeyed.
  - kind: site
    start: [https://example.org/]
    allow_private: false   # true only for a site on your own machine or network
  # A list of image URLs with texts (Parquet, CSV, TSV or JSONL), as img2dataset takes:
  # - kind: urls
  #   path: data/images.parquet
  # Web archives, as Common Crawl's, and tars in WebDataset form:
  # - kind: warc
  #   path: data/*.warc.gz
  # - kind: webdataset
  #   path: data/{{00000..00012}}.tar
  # A folder of images with an annotations.jsonl (image, and any of captions, text, qa, tags,
  # sentiment, split):
  # - kind: folder
  #   path: data/photos
"""


def commented_recipe(file: str, name: str = "my-model") -> str:
    """A recipe to start from: every key with its default and what it means, as comments."""
    lines = [_HEAD.format(file=file, name=name)]
    for key, info in Recipe.model_fields.items():
        if key in ("name", "seed", "sources", "samplesite"):
            continue
        if key == "gold":
            lines += [f"# {info.description}", "# gold: gold.jsonl", ""]
            continue
        if key == "protect":
            lines += [f"# {info.description}", "# protect: []", ""]
            continue
        (model,) = _models_in(info.annotation)
        lines += [f"# {_first_line(model)}", f"{key}:" if key == "train" else f"# {key}:"]
        lines += _commented_fields(model)
        if key == "train":
            lines += ["  preset: nano", "  budget_minutes: 10"]
        lines.append("")
    return "\n".join(lines)


def _commented_fields(model: type[BaseModel], indent: str = "  ") -> list[str]:
    lines = []
    defaults = model().model_dump(mode="json")
    for key, info in model.model_fields.items():
        value = yaml.safe_dump(defaults[key], default_flow_style=True, width=10_000)
        text = value.removesuffix("\n").removesuffix("\n...")
        meaning = f"   # {info.description}" if info.description else ""
        lines.append(f"# {indent}{key}: {text}{meaning}")
    return lines


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or model.__name__).strip().splitlines()[0]
