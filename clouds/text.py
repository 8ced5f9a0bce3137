"""Numbers in messages and pages."""


def counted(number: int, noun: str) -> str:
    """Formats a count: "1 image", "5,546 images".

    Args:
      number: how many.
      noun: singular of a noun whose plural ends in s.
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def decimal(value: float, digits: int, sign: str = "") -> str:
    """Formats a number; less than a millionth counts as 0.

    Args:
      value: number to format.
      digits: digits after the point; more if all of them would be zeros, as for
        -0.0004.
      sign: "+" to show the sign of positive numbers.
    """
    value = round(value, 6) + 0.0
    while value and not round(value, digits):
        digits += 1
    return f"{value:{sign if value else ''}.{digits}f}"
