"""The errors a user can meet, as a tree; each branch has its own exit code and a code that may leave a site.

GliofedError (1)
├── StudyError (2)       the study or a command's arguments are wrong
├── DataError (3)        a scan, a folder or a cache is wrong
├── ReleaseError (4)     a release or a checkpoint is damaged or does not fit
├── PolicyError (5)      the site does not allow what was asked
└── FederationError (6)  a run ended without sites that the study asks for: it is incomplete
    └── RunFailedError (7)  a run ended with nothing: no site was there, or none had anything to learn from
"""

from __future__ import annotations


class GliofedError(Exception):
    """Base of all errors meant for a reader; the message says what was found, where, and what to do.

    Attributes:
        exit_code: exit status of a program that ends with this error.
        code: short text that names the kind of error and holds nothing of a site; this, never the message, leaves it.
    """

    exit_code = 1
    code = "error"


class StudyError(GliofedError):
    """The study file or a command's arguments cannot be used."""

    exit_code = 2
    code = "study"


class DataError(GliofedError):
    """A scan, a site folder or a cache cannot be used."""

    exit_code = 3
    code = "data"


class ReleaseError(GliofedError):
    """A release or checkpoint is damaged, or belongs to another study."""

    exit_code = 4
    code = "release"


class PolicyError(GliofedError):
    """The site's own policy forbids what was asked."""

    exit_code = 5
    code = "policy"


class FederationError(GliofedError):
    """A round or a run ended without the sites that the study requires."""

    exit_code = 6
    code = "federation"


class RunFailedError(FederationError):
    """A run ended with nothing: no site was there, or none had anything to learn from."""

    exit_code = 7
    code = "run-failed"
