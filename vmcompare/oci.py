"""A container image layer in plain Python: a tar, its digest, and the bytes a registry stores.

Format: OCI Image Format Specification 1.1, ``layer.md`` and ``config.md``. A layer's *diff id* is
the SHA-256 of its tar; a registry stores the tar compressed and names that by a digest of its own.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import PurePosixPath

GZIP_LEVEL = 6
"""The usual level of gzip, and the one ``docker push`` compresses layers with."""


def layer(files: Mapping[str, bytes]) -> bytes:
    """A layer with these files (absolute path → content), their folders before them, as a tar.

    Owner root, mode 755, time 0 and sorted names: the same files always give the same bytes.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted({p for name in files for p in _parents(name)} | set(files)):
            info = tarfile.TarInfo(path.lstrip("/"))
            info.mode = 0o755
            if path in files:
                info.size = len(files[path])
                tar.addfile(info, io.BytesIO(files[path]))
            else:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
    return packed.getvalue()


def digest(data: bytes) -> str:
    """``sha256:`` and 64 hexadecimal digits: how images, layers and manifests are named."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def compressed(data: bytes) -> bytes:
    """``data`` as a registry stores it: gzip, without a time stamp."""
    return gzip.compress(data, GZIP_LEVEL, mtime=0)


def _parents(path: str) -> set[str]:
    return {str(parent) for parent in PurePosixPath(path).parents} - {"/", "."}
