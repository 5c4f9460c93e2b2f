"""Quantities in the words that the terminal and the report share."""


def duration_text(seconds: float) -> str:
    """Say a length of time: ``3.5 s``, ``2 min 05 s``, ``1 h 07 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def size_text(count: int) -> str:
    """Say a number of bytes in decimal units: ``412.3 kB``."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def usd_text(amount: float | None) -> str:
    """Say an amount of money, fine where it is small: ``0.0042 USD``, ``1,204.50 USD``, ``not known``."""
    if amount is None:
        return "not known"
    return f"{amount:,.2f} USD" if amount >= 100 or amount == 0 else f"{amount:,.4f} USD"
