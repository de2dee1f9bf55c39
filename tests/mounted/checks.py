# SPDX-License-Identifier: Apache-2.0
"""What the Python pieces of the mounted tests check with."""

import errno


def error(f, *args, **more):
    """The errno by name; None when it worked."""
    try:
        f(*args, **more)
    except OSError as e:
        return errno.errorcode[e.errno]
    return None


def is_(what, got, want):
    assert got == want, f"{what}: got {got!r}, want {want!r}"
