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
