"""Input understanding: a folder, a glob, a video or a list becomes the rows that were asked for.

Only paths and text are read here; whether a file really is a video is for the decoder to say.

``naming``      which names are videos, and how a path becomes a key
``tree``        what lies on disk, each folder listed once
``source``      a list file: its bytes, lines and columns, and errors that name the line
``classes``     class names and their indices
``text_lists``, ``kinetics``, ``tables``, ``canonical``    one parser for each kind of list
``kinds``       kind name -> recogniser and parser
``resolve``     entries -> rows found on disk and rows missing
``read``        the whole way, from the words on a command line to a `Manifest`
"""

from vstats.pipeline.manifest.canonical import manifest_digest, write_manifest
from vstats.pipeline.manifest.model import Manifest
from vstats.pipeline.manifest.naming import VIDEO_EXTENSIONS, key_of_path, path_of_key
from vstats.pipeline.manifest.read import KIND_NAMES, read_manifest

__all__ = [
    "KIND_NAMES",
    "VIDEO_EXTENSIONS",
    "Manifest",
    "key_of_path",
    "manifest_digest",
    "path_of_key",
    "read_manifest",
    "write_manifest",
]
