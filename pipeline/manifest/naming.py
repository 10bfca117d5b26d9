"""Which names are videos, and how a path becomes a key."""

import os.path
import re

# Those of denseflow and mmaction2, and what else FFmpeg commonly opens as moving pictures.
_EXTENSIONS = """
    mp4 avi mkv webm mov flv mpg mpeg mpe m1v m2v mpv ts m2ts mts m4v wmv asf 3gp 3g2 gif ogv ogm y4m vob rm rmvb divx
    f4v mxf mjpeg mjpg dv ivf nut h264 264 h265 265 hevc obu qt
"""
VIDEO_EXTENSIONS = frozenset(f".{extension}" for extension in _EXTENSIONS.split())

# A key is printed, quoted in reports and written one a line: control characters would break the line,
# and lone surrogates (bytes of a name that are not UTF-8) cannot be encoded at all. The backslash itself
# is escaped too, so that a key leads back to exactly one path.
_ESCAPED = re.compile("[\x00-\x1f\x7f\\\\\udc80-\udcff]")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_UNUSABLE = re.compile("[\x00\ud800-\udc7f\udd00-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:/")


def extension_of(name: str) -> str:
    """Return the extension of a path in lower case, with its dot, or ""."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def is_video_name(name: str) -> bool:
    """Say whether a path has a known video extension."""
    return extension_of(name) in VIDEO_EXTENSIONS


def is_usable(name: str) -> bool:
    """Say whether a file of this name could exist: no NUL, and nothing that no file system can spell."""
    return _UNUSABLE.search(name) is None


def is_absolute(name: str) -> bool:
    """Say whether a path with '/' between folders starts at the top, on any system."""
    return name.startswith("/") or _DRIVE.match(name) is not None


def key_of_path(relative: str) -> str:
    r"""Return the key of a video: its path from the root, always one line of valid UTF-8.

    Parameters
    ----------
    relative : str
        Path relative to the root, '/' between folders; bytes that are not UTF-8 as Python's `surrogateescape` has
        them.

    Returns
    -------
    str
        The same path, with control characters, backslashes and bytes that are not UTF-8 written as ``\xNN``.
    """
    if relative.isprintable() and "\\" not in relative:
        return relative
    return _ESCAPED.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", relative)


def path_of_key(key: str) -> str:
    """Return the path relative to the root that `key_of_path` made this key from."""
    if "\\" not in key:
        return key

    def spell(found: re.Match[str]) -> str:
        byte = int(found[1], 16)
        return chr(byte if byte < 0x80 else 0xDC00 + byte)

    return _ESCAPE.sub(spell, key)


def printable(text: str) -> str:
    """Return text as one line that any terminal can be given; what is printable already stays as it is."""
    if text.isprintable():
        return text
    one_line = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    return one_line.encode("utf-8", "backslashreplace").decode("utf-8")


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return "1 video", "1,200 videos"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
