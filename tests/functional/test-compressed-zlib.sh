#!/bin/bash
# A filesystem in an image that QEMU has compressed with zlib.
test_limit=180
here=$(cd "$(dirname "$0")" && pwd)
. "$here/functions.sh"
. "$here/compressed-fs.sh"
requires loop fuse qemu-img mke2fs tar helpers
compressed_test zlib "$(pick 30 150 3000)"
