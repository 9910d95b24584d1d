"""Python values into fields of native structs."""


def assign(target: object, name: str, value: object, kind: str) -> None:
    """Sets a field.  Raises TypeError or ValueError saying which argument is wrong, and how."""
    try:
        setattr(target, name, value)
    except TypeError:
        if isinstance(value, int) and "int" in kind:
            raise ValueError(f"{name} is out of range: {value}") from None
        raise TypeError(f"{name} must be {kind}, got {value!r}") from None
