"""How many stages a DCGAN has and how large its maps are. Light: the check reads it too."""

SMALLEST = 4  # px of the shorter side of the smallest map, at least
WIDEST = 8  # maps grow no wider than this many times `width`


def smallest_image(stride: int) -> int:
    """Pixels that each side of an image needs, so that there is at least one stage."""
    return stride * (SMALLEST - 1) + 1


def map_sizes(height: int, width: int, stride: int) -> list[tuple[int, int]]:
    """(height, width) of the image and of every map below it, the smallest last.

    Each is the one above divided by the stride, rounded up, while both sides keep 4 px:
    64 -> 32, 16, 8, 4; 28 -> 14, 7, 4; 96 -> 48, 24, 12, 6; 48 x 80 -> 24 x 40, ..., 6 x 10.
    """
    sizes = [(height, width)]
    while True:
        rows, columns = (-(-side // stride) for side in sizes[-1])
        if min(rows, columns) < SMALLEST:
            return sizes
        sizes.append((rows, columns))


def map_widths(stages: int, width: int) -> list[int]:
    """Channels of the maps below the image, the smallest map last: width x 1, 2, 4, 8, 8, ..."""
    return [width * min(2**stage, WIDEST) for stage in range(stages)]


def padding(large: int, small: int, kernel: int, stride: int) -> tuple[int, int]:
    """(padding, output_padding) with which a convolution takes `large` px to exactly `small`.

    small is large / stride rounded up. The transposed convolution with both takes it back.
    """
    unpadded = (small - 1) * stride + kernel  # px that a transposed convolution makes
    one_side = (unpadded - large + 1) // 2
    return one_side, large - (unpadded - 2 * one_side)
