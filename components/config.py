"""The base of every typed config: frozen, documented under each field, unknown keys refused."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Immutable settings of one part; lives beside the code that it configures.

    The docstring under a field becomes its description in the JSON schema that editors read.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )
