"""What a recipe says about tracking."""

from pydantic import Field

from components.config import Config


class TrackingConfig(Config):
    """Where runs are filed and what is sampled beside them."""

    experiment: str = Field(default="headrace", min_length=1, max_length=500)
    """MLflow experiment that the run belongs to; made when it does not exist. Default headrace."""

    system_metrics: bool = True
    """Sample CPU, memory, disk, network and GPU of the driver's machine every 5 s. Default true."""
