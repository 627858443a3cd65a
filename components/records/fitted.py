"""What every fitted transform has: canonical JSON, and a hash that names it."""

from typing import Self

from components.config import Config
from components.records.fingerprint import canonical_json, json_sha256


class FittedTransform(Config):
    """Statistics fitted on the train split; travels in the manifest and the model package.

    Each modality says what was fitted and how it is applied.
    """

    @property
    def hash(self) -> str:
        """16 hex digits (SHA-256 of `to_json`) that name this transform."""
        return transform_hash(self.model_dump(mode="json"))

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks, floats in full precision."""
        return canonical_json(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read back what `to_json` wrote, bit for bit.

        Raises:
            pydantic.ValidationError: The text is no fitted transform.
        """
        return cls.model_validate_json(text)


def transform_hash(transform: dict[str, object]) -> str:
    """The hash of a fitted transform that is at hand as plain JSON."""
    return json_sha256(transform)[:16]
