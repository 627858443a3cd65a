"""Errors that a user can act on: each message is one line with what, value, place and remedy."""


class HeadraceError(Exception):
    """Base of all errors that Headrace explains itself; shown without a traceback."""

    exit_code = 1


class RecipeError(HeadraceError):
    """The recipe or an override was refused."""

    exit_code = 2


class DataError(HeadraceError):
    """The data, or what was prepared from it, was refused."""

    exit_code = 2


class PlanError(HeadraceError):
    """The resource plan cannot run on this machine or cluster."""

    exit_code = 2


class TrackingError(HeadraceError):
    """The tracking server or database cannot be used."""


class StorageError(HeadraceError):
    """Files could not be written or read: full disk, missing permission, lost mount."""
