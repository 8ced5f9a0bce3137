"""Types of the values in JSON files, checked before anything uses them."""

NUMBER = (int, float)
"""A number; True and False are none."""
OPTIONAL = "?"
"""End of the name of a field that may be missing."""


def check(value, expected, place: str = "") -> None:
    """Checks a value of JSON, and all values inside it.

    Args:
      value: value from `json.loads`.
      expected: a type or a tuple of types (None stands for null); `[T]` for a list of
        T; `{str: T}` for an object of T by any names; `{name: T}` for an object with
        these fields and perhaps others.
      place: path of the value, for the error.

    Raises:
      ValueError: the value has another type; the message names its place.
    """
    if isinstance(expected, list):
        _check_type(value, list, place)
        for index, one in enumerate(value):
            check(one, expected[0], f"{place}[{index}]")
    elif isinstance(expected, dict):
        _check_type(value, dict, place)
        for name, kind in _fields(value, expected).items():
            inner = f"{place}.{name}" if place else name
            if name not in value:
                raise ValueError(f"without {inner}")
            check(value[name], kind, inner)
    elif isinstance(expected, tuple) and any(_is_nested(one) for one in expected):
        # Null, or the one nested type.
        if value is not None:
            check(value, next(one for one in expected if _is_nested(one)), place)
    else:
        _check_type(value, expected, place)


def _fields(value: dict, expected: dict) -> dict:
    if str in expected:
        return dict.fromkeys(value, expected[str])
    return {
        name.removesuffix(OPTIONAL): kind
        for name, kind in expected.items()
        if not name.endswith(OPTIONAL) or name.removesuffix(OPTIONAL) in value
    }


def _is_nested(expected) -> bool:
    return isinstance(expected, list | dict)


def _check_type(value, expected, place: str) -> None:
    kinds = expected if isinstance(expected, tuple) else (expected,)
    kinds = tuple(type(None) if kind is None else kind for kind in kinds)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
        raise ValueError(f"{place or 'it'} is {type(value).__name__}, not {names}")
