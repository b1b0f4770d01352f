"""National identity numbers: written as only such numbers are, with the checksum of their country.

A number whose form or checksum is weak counts only behind a word that names it. Checksums are those
of python-stdnum; it is asked about candidates alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Identity:
    """One country's number: how it is written, the python-stdnum module that knows its checksum
    (none: it has none), and words one of which must stand before it (none: the form is enough)."""

    pattern: re.Pattern[str]
    module: str | None
    words: re.Pattern[str] | None = None


def accepted(identity: Identity, match: re.Match[str]) -> int:
    """Characters of a match that are a valid number: all of them, or 0."""
    if identity.words is not None:
        before = match.string[max(0, match.start() - 40) : match.start()]
        if not identity.words.search(before):
            return 0
    if identity.module is not None and not _module(identity.module).is_valid(match[0]):
        return 0
    return len(match[0])


@cache
def _module(name: str) -> Any:
    return import_module(f"stdnum.{name}")


def _identity(pattern: str, module: str | None, words: str = "") -> Identity:
    """`words` is an alternation; a colon, `no.`, `number` or the like may follow them."""
    named = re.compile(rf"(?i)\b(?:{words})\b[\s.:#()]*(?:(?:no|nr|number|is|id)\b[\s.:#]*)*$")
    whole = re.compile(rf"(?<![\w.,+-]){pattern}(?![\w]|[.,-]\d)")
    return Identity(whole, module, named if words else None)


_DAY = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"  # MMDD
IDENTITIES = (
    _identity(r"\d{8}[- ]?[A-Z]", "es.dni"),
    _identity(r"[XYZ][- ]?\d{7}[- ]?[A-Z]", "es.nie"),
    _identity(r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", "it.codicefiscale"),
    _identity(r"[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}", "fr.nir"),
    _identity(rf"[1-9]\d{{5}}(?:18|19|20)\d\d{_DAY}\d{{3}}[\dX]", "iso7064.mod_11_2"),  # China
    _identity(r"756[. ]\d{4}[. ]\d{4}[. ]\d{2}", "ch.ssn"),
    _identity(r"\d{3}\.\d{3}\.\d{3}-\d{2}", "br.cpf"),
    _identity(r"\d{11}", "br.cpf", "cpf"),
    _identity(r"\d{6}[-+A]\d{3}[0-9A-FHJ-NPR-Y]", "fi.hetu"),
    _identity(r"(?:19|20)?\d{6}[-+]\d{4}", "se.personnummer"),
    _identity(r"(?:19|20)?\d{10}", "se.personnummer", "personnummer|pnr"),
    _identity(r"\d{6}[- ]?\d{4}", "dk.cpr", "cpr|cpr-nummer|cpr-nr|personnummer"),
    _identity(r"\d{6} ?\d{5}", "no.fodselsnummer"),
    _identity(r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", "be.nn"),
    _identity(rf"\d\d{_DAY}\d{{5}}", "be.nn"),
    _identity(r"\d{11}", "pl.pesel", "pesel"),
    _identity(r"\d{9}|\d{3}[ .]\d{3}[ .]\d{3}|\d{4}\.\d{2}\.\d{3}", "nl.bsn", "bsn|sofinummer"),
    _identity(
        r"\d{2} ?\d{3} ?\d{3} ?\d{3}",
        "de.idnr",
        "steuer-?id|steueridentifikationsnummer|steuerliche identifikationsnummer|idnr|tin",
    ),
    _identity(r"\d{3}-\d{2}-\d{4}", "us.ssn"),
    _identity(r"\d{3} ?\d{2} ?\d{4}", "us.ssn", "ssn|social security"),
    _identity(r"\d{4}[ -]?\d{4}[ -]?\d{4}", "in_.aadhaar", "aadhaar|aadhar|uidai|uid"),
    _identity(r"\d{3}[ -]?\d{3}[ -]?\d{3}", "ca.sin", "sin|social insurance|nas"),
    _identity(r"[A-Z]{2} \d{2} \d{2} \d{2} [A-D]", None),
    _identity(r"[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-Z]", None, "nino|ni|national insurance"),
    _identity(r"\d{3} ?\d{3} ?\d{4}", "gb.nhs", "nhs"),
    _identity(r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[0-9A-Z]\d", "mx.curp"),
    _identity(rf"\d\d{_DAY}-[1-8]\d{{6}}", None),  # Korea; no checksum since 2020
    _identity(r"\d{6}/\d{3,4}", "cz.rc"),
    _identity(r"\d{1,2}\.\d{3}\.\d{3}-[\dkK]", "cl.rut"),
    _identity(r"\d{13}", "ro.cnp", "cnp|cod numeric personal"),
    _identity(r"\d{13}", "za.idnr", "id|identity|sa id"),
    _identity(r"\d{11}", "tr.tckimlik", "tckn|kimlik|tc kimlik"),
    _identity(r"\d{9}|\d{3} \d{3} \d{3}", "pt.nif", "nif|contribuinte"),
)
