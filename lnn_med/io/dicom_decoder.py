"""Program that decodes compressed pixel data in a process of its own, with limits on what it may use.

The codecs are native code that reads untrusted bytes; when one crashes or swells, only this process ends.
It is started by path, so that it imports pydicom and not this package.

Standard input: a line of JSON, {"limits": {...}, "files": [{"bytes": n, "syntax": uid, "options": {...}}]},
then the values of PixelData one after the other. Standard output: the pixels of all frames, little endian.
Standard error, when it fails: the number of the file. Exit code 0 or 3.
"""

from __future__ import annotations

import json
import resource
import sys
import warnings

FAILED = 3


def main() -> int:
    """Decode what standard input brings."""
    job = json.loads(sys.stdin.buffer.readline())
    _limit(job["limits"])
    import numpy as np  # after the limits: importing needs address space too
    from pydicom.pixels import get_decoder

    warnings.simplefilter("ignore")
    for number, item in enumerate(job["files"]):
        value = sys.stdin.buffer.read(item["bytes"])
        try:
            decoder = get_decoder(item["syntax"])
            pixels, _ = decoder.as_array(value, raw=True, **item["options"])
            sys.stdout.buffer.write(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).data)
        except Exception:  # codecs raise what they like; their text may quote the header
            sys.stderr.write(str(number))
            return FAILED
    sys.stdout.buffer.flush()
    return 0


def _limit(limits: dict[str, int]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_s"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main())
