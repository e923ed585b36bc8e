"""Who may open the console: names, roles and argon2id hashes, in a file that its owner alone can read."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, field_validator

from common.errors import StudyError
from common.files import PRIVATE, read_at_most, write_whole
from common.settings.frozen import Frozen

MAX_ACCOUNTS, MAX_BYTES = 200, 128 * 1024
NAME = re.compile(r"[a-z][a-z0-9.-]{0,31}")


class Role(StrEnum):
    """What an account may do: a viewer looks, an operator pauses, resumes and stops runs too."""

    VIEWER = "viewer"
    OPERATOR = "operator"


class Account(Frozen):
    """One person: name, role, and the argon2id hash of the password in PHC form."""

    name: str
    role: Role
    password_hash: Annotated[str, StringConstraints(pattern=r"^\$argon2id\$[!-~]{20,200}$")]

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{name[:40]!r} must be up to 32 lower-case letters, digits, dots, hyphens, a letter first"
            )
        return name


class _File(Frozen):
    schema_version: Literal[1] = 1
    accounts: Annotated[tuple[Account, ...], Field(max_length=MAX_ACCOUNTS)]

    @field_validator("accounts")
    @classmethod
    def _check_names(cls, accounts: tuple[Account, ...]) -> tuple[Account, ...]:
        if len({account.name for account in accounts}) != len(accounts):
            raise ValueError("an account is named twice")
        return accounts


def parse_accounts(blob: bytes, origin: str = "accounts.json") -> dict[str, Account]:
    """Return name → account. Raises StudyError where `blob` is no file of accounts, with every problem."""
    try:
        read = _File.model_validate_json(blob, strict=True)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors()[:20])
        raise StudyError(f"{origin}: {said}; remove the file and add the accounts again") from None
    return {account.name: account for account in read.accounts}


def load_accounts(path: Path) -> dict[str, Account]:
    """Return name → account, none where there is no file.

    Raises:
        StudyError: where the file is damaged, or others than its owner can read it.
    """
    if not path.exists():
        return {}
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise StudyError(f"{path}: others can read it; `chmod 600 {path}`, and give every account a new password")
    return parse_accounts(read_at_most(path, MAX_BYTES), str(path))


def save_accounts(path: Path, accounts: Iterable[Account]) -> None:
    """Write the accounts, for their owner alone. Raises StudyError where there are too many."""
    listed = tuple(sorted(accounts, key=lambda account: account.name))
    if len(listed) > MAX_ACCOUNTS:
        raise StudyError(f"{path}: more than {MAX_ACCOUNTS} accounts; remove some first")
    write_whole(path, (_File(accounts=listed).model_dump_json(indent=2) + "\n").encode(), PRIVATE)


def make_account(name: str, role: Role, password_hash: str) -> Account:
    """Return an account. Raises StudyError where the name cannot be one."""
    try:
        return Account(name=name, role=role, password_hash=password_hash)
    except ValidationError as error:
        raise StudyError(f"account {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
