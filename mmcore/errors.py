"""The two ways to fail: the user can mend it (exit code 2), or something broke (exit code 1)."""

from __future__ import annotations


class MmcoreError(Exception):
    """Something failed; the message is one sentence that says what and where."""

    exit_code = 1


class UserError(MmcoreError):
    """The user can mend it; the message is one sentence that says what to change."""

    exit_code = 2
