"""Quantities in the words that the terminal and the report share."""


def duration_text(seconds: float) -> str:
    """Say a length of time: ``3.5 s``, ``2 min 05 s``, ``1 h 07 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
