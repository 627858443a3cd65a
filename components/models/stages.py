"""How far the reference networks shrink a picture; without torch, so that recipes load fast."""

from components.errors import RecipeError


def stem_stride(image_px: int) -> int:
    """Return how much the stem shrinks the picture: 1 up to 64 px, 2 up to 128 px, then 4.

    Small pictures keep their pixels, as in the CIFAR networks of He et al. 2016; photographs are
    shrunk first, as in their ImageNet networks.
    """
    if image_px <= 64:
        return 1
    return 2 if image_px <= 128 else 4


def check_stages(image_px: int, num_stages: int) -> None:
    """Refuse a picture that is gone before the last stage, which must see 2 pixels or more.

    Raises:
        RecipeError: `image_px` is too small for `num_stages`.
    """
    last_px = image_px // stem_stride(image_px) // 2 ** (num_stages - 1)
    if last_px < 2:
        raise RecipeError(
            f"model: {num_stages} stages leave {last_px} pixels of a picture of {image_px} px, "
            "and need 2; use fewer stages or raise input.image_px"
        )
