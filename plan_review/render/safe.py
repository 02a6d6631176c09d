"""Text from plans, made harmless for where it is shown: anyone may have written it."""

import html
import re
import unicodedata

_SPECIAL = re.compile(r"([\\`*_\[\]#!|~$])")
# At the start of an item these would begin a list, a heading or a quote.
_LEADING = re.compile(r"^([-+=>]|\d+(?=[.)]))")
_BREAK = "\u200b"
# Characters that turn the direction of text, or cannot be seen.
_HIDDEN = frozenset(
    chr(code)
    for span in ((0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0xFEFF, 0xFEFF), (0x61C, 0x61C))
    for code in range(span[0], span[1] + 1)
)


def plain(text: str) -> str:
    """Return `text` with control characters and hidden ones written out, on one line."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(_shown(character) for character in line)


def _shown(character: str) -> str:
    if character in _HIDDEN or unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn"):
        return f"\\u{ord(character):04x}"
    return character


def _arrows(text: str) -> str:
    """Return `text` with arrows as people write them."""
    return text.replace(" -> ", " \N{RIGHTWARDS ARROW} ")


def markdown(text: str) -> str:
    """Return `text` so that Markdown shows it as it is: no markup, no HTML, no link, no mention."""
    quoted = _SPECIAL.sub(r"\\\1", html.escape(_arrows(plain(text)), quote=False))
    # Mentions, references and bare addresses are found in the rendered text: break them apart there.
    quoted = quoted.replace("@", f"@{_BREAK}").replace("://", f":{_BREAK}//").replace("www.", f"www{_BREAK}.")
    quoted = _LEADING.sub(
        lambda found: f"\\{found[1]}" if not found[1].isdigit() else f"{found[1]}\\", quoted
    )
    return re.sub(r"(?<=\\#)(?=\w)|(?<=[&!%~^])(?=\d)|(?<=GH)(?=-\d)", _BREAK, quoted)


def code(text: str) -> str:
    """Return `text` as Markdown code, where nobody is notified either."""
    shown = plain(text)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") or not shown else ""
    return f"{fence}{pad}{shown or ' '}{pad}{fence}"


def markup(text: str) -> str:
    """Return `text` for HTML, in an element or an attribute."""
    return html.escape(_arrows(plain(text)), quote=True)
