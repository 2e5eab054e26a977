"""Names that users chose, as text of a picture."""


def as_text(text: str, most: int = 0) -> str:
    """The text as it is, since matplotlib takes what stands between two $ for mathematics.

    Args:
      most: a longer line is cut to so many characters, the last of them '…'; 0: none is.
    """
    lines = [
        line if not most or len(line) <= most else f"{line[: most - 1]}…"
        for line in text.split("\n")
    ]
    return "\n".join(lines).replace("$", r"\$")
