"""Counts and numbers as messages and pages have them."""


def counted(number: int, thing: str) -> str:
    """Counts things: "1 image", "5,546 images".

    Args:
      number: how many.
      thing: what, in the singular; its plural takes an s.
    """
    return f"{number:,} {thing}{'s' * (number != 1)}"


def decimal(value: float, digits: int, sign: str = "") -> str:
    """Writes a number, of which less than a millionth counts as 0.

    Args:
      value: to write.
      digits: behind the point; more where all of these would be zeros, as of -0.0004.
      sign: "+" where positive numbers shall have theirs.
    """
    value = round(value, 6) + 0.0
    while value and not round(value, digits):
        digits += 1
    return f"{value:{sign if value else ''}.{digits}f}"


def turned(size: tuple[int, int], other: tuple[int, int], name: str) -> str | None:
    """What speaks against --size: that it is upright and what it is made of is not.

    Args:
      size: height and width that were given.
      other: those of what it is made of.
      name: what that is.

    Returns:
      A sentence or two, also of the reverse; None where nothing does.
    """
    (height, width), (of_height, of_width) = size, other
    if (height - width) * (of_height - of_width) >= 0:
        return None
    forms = ("upright", "wide") if height > width else ("wide", "upright")
    return (
        f"--size should be height x width. Received: {height}x{width}, which is "
        f"{forms[0]}, where {name} are {forms[1]}, {of_height}x{of_width}: images will "
        f"be squeezed. Did you mean {width}x{height}?"
    )
