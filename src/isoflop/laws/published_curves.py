"""Published laws of one variable in other domains than text, listed in `published.PUBLISHED`."""

from isoflop.laws._published import PF_DAY, ROUNDED, Published, published
from isoflop.laws.power import POWER, POWER_FLOOR

_SOURCE = "Henighan et al. 2020, arXiv:2010.14701, Table 1"


def _henighan(
    name: str, title: str, floor: float, scale: float, alpha: float, *caveats: str
) -> Published:
    """(x/scale)^-alpha above a floor; a name that ends in flops has its scale in PF-days."""
    of_flops = name.endswith("flops")
    x0 = scale * PF_DAY if of_flops else scale
    what = "compute [FLOPs]" if of_flops else "the number of non-embedding parameters"
    return published(
        f"henighan_{name}",
        f"{title} L({'C' if of_flops else 'N'})",
        POWER_FLOOR if floor else POWER,
        (floor, x0, alpha) if floor else (x0, alpha),
        _SOURCE,
        f"x is {what}.",
        *caveats,
        convention="non_embedding",
        problems=(ROUNDED,),
    )


_MATHS_NOTE = "Weight decay bent L(C): its floor is half that of L(N)."

CURVES = (
    _henighan("n_params", "Language", 0, 1.47e14, 0.070, "From GPT-3."),
    _henighan("flops", "Language", 0, 3.47e8, 0.048, "From GPT-3."),
    _henighan("image8_n_params", "Images 8x8", 3.12, 8.0e1, 0.24),
    _henighan("image8_flops", "Images 8x8", 3.13, 1.8e-8, 0.19),
    _henighan("image16_n_params", "Images 16x16", 2.64, 2.8e2, 0.22),
    _henighan("image16_flops", "Images 16x16", 2.64, 1.6e-8, 0.16),
    _henighan("image32_n_params", "Images 32x32", 2.20, 6.3e1, 0.13),
    _henighan("image32_flops", "Images 32x32", 2.21, 3.6e-9, 0.1),
    _henighan("image_vq16_n_params", "Images VQ 16x16", 3.99, 2.7e4, 0.13),
    _henighan("image_vq16_flops", "Images VQ 16x16", 4.09, 6.1e-7, 0.11),
    _henighan("image_vq32_n_params", "Images VQ 32x32", 3.07, 1.9e4, 0.14),
    _henighan("image_vq32_flops", "Images VQ 32x32", 3.17, 2.6e-6, 0.12),
    _henighan("text_to_image_text_n_params", "Text to image, text", 0, 5.6e8, 0.037),
    _henighan("text_to_image_n_params", "Text to image, image", 2.0, 5.1e3, 0.16),
    _henighan("text_to_image_flops", "Text to image, image", 1.93, 1.5e-6, 0.15),
    _henighan("image_to_text_text_n_params", "Image to text, text", 0, 7.0e8, 0.039),
    _henighan("image_to_text_n_params", "Image to text, image", 2.0, 5.5e3, 0.15),
    _henighan("image_to_text_flops", "Image to text, image", 1.97, 1.5e-6, 0.16),
    _henighan("video_n_params", "Video VQ 16x16x16", 1.01, 3.7e4, 0.24),
    _henighan("video_flops", "Video VQ 16x16x16", 0.95, 2.2e-5, 0.14),
    _henighan("maths_n_params", "Mathematics", 0.28, 1.1e4, 0.16, _MATHS_NOTE),
    _henighan("maths_flops", "Mathematics", 0.14, 1.4e-5, 0.17, _MATHS_NOTE),
)
