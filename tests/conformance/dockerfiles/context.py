"""Build contexts: a dictionary of names to what lies there, as a tar."""

import io
import tarfile

MTIME = 1_000_000_000


class Entry:
    """Something in a tar. Owners, times and attributes are the tar's: a builder may replace them."""

    def __init__(self, kind=tarfile.REGTYPE, data=b"", mode=0o644, link="", uid=0, gid=0, mtime=MTIME, xattrs=None, device=(0, 0)):
        self.kind = kind
        self.data = data.encode() if isinstance(data, str) else data
        self.mode, self.link, self.uid, self.gid, self.mtime = mode, link, uid, gid, mtime
        self.xattrs = xattrs or {}
        self.device = device

    def add_to(self, tar, name):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.linkname = self.kind, self.mode, self.link
        info.uid, info.gid, info.mtime, info.size = self.uid, self.gid, self.mtime, len(self.data)
        info.devmajor, info.devminor = self.device
        # A value that is no text goes through as surrogates.
        info.pax_headers = {f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape")
                            for key, value in self.xattrs.items()}
        tar.addfile(info, io.BytesIO(self.data))


def file(data, mode=0o644, **fields):
    return Entry(data=data, mode=mode, **fields)


def directory(mode=0o755, **fields):
    return Entry(tarfile.DIRTYPE, mode=mode, **fields)


def link(target, **fields):
    return Entry(tarfile.SYMTYPE, link=target, mode=0o777, **fields)


def hard_link(target, **fields):
    return Entry(tarfile.LNKTYPE, link=target, **fields)


def fifo(mode=0o644, **fields):
    return Entry(tarfile.FIFOTYPE, mode=mode, **fields)


def device(major, minor, mode=0o600, **fields):
    return Entry(tarfile.CHRTYPE, mode=mode, device=(major, minor), **fields)


def archive(entries, mode="w"):
    """`entries`: names to Entry, or to text or bytes of a plain file, or None for a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as tar:
        for name, entry in entries.items():
            if entry is None:
                entry = directory()
            elif not isinstance(entry, Entry):
                entry = file(entry)
            entry.add_to(tar, name)
    return out.getvalue()
