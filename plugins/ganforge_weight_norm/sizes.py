"""How large the maps of these networks are. Light: the check reads it too."""

SMALLEST = 3  # px of the shorter side of the smallest map, at least
SMALLEST_IMAGE = 2 * SMALLEST  # px of the shorter side, so that there is at least one stage
WIDEST = 8  # maps grow no wider than this many times `width`


def map_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of the image and of every map below it, the smallest last.

    Each is half of the one above, rounded down, while both sides keep 3 px: 64 -> 32, 16, 8, 4;
    28 -> 14, 7, 3; 48 x 80 -> 24 x 40, 12 x 20, 6 x 10, 3 x 5. Rounded down, because a 4 x 4
    convolution with stride 2 and padding 1 does so, and still covers every pixel.
    """
    sizes = [(height, width)]
    while min(sizes[-1]) // 2 >= SMALLEST:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


def map_widths(stages: int, width: int) -> list[int]:
    """Channels of the maps below the image, the smallest map last: width x 1, 2, 4, 8, 8, ..."""
    return [width * min(2**stage, WIDEST) for stage in range(stages)]
