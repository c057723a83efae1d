"""Characters of the fonts Symbol and Wingdings as Unicode has them: α, ≤, ☑."""  # noqa: RUF002

_LETTERS = dict(zip(range(0x61, 0x7B), "αβχδεφγηιϕκλμνοπθρστυϖωξψζ", strict=True))
_CAPITALS = dict(zip(map(ord, "DSWFGQPLYX"), "ΔΣΩΦΓΘΠΛΨΞ", strict=True))
_SIGNS = dict(zip(bytes.fromhex("a3b3b1b4b7b0aeaca5b9bb2dd6e5b6def2"), "≤≥±×•°→←∞≠≈−√∑∂⇒∫", strict=True))  # noqa: RUF001
_SYMBOL = {**_LETTERS, **_CAPITALS, **_SIGNS}
_WINGDINGS = dict(zip(b"\xfc\xfb\xfe\xfd\xa8\x6f\xe0\xdf\xe8\x4a\x6c\x6e\xa7\xd8", "✓✗☑☒☐☐→←➔☺●■▪➢", strict=True))


def symbol(font: str, code: str) -> str:
    """Return the character of a font of symbols as Unicode has it, '' where it is a mere ornament."""
    try:
        number = int(code, 16)
    except ValueError:
        return ""
    place = number - 0xF000 if number >= 0xF000 else number
    if font.lower() == "symbol":
        return _SYMBOL.get(place, chr(place) if 0x20 <= place < 0x7F else "")
    if font.lower().startswith("wingdings"):
        return _WINGDINGS.get(place, "")
    return chr(number) if not 0xE000 <= number <= 0xF8FF else ""
