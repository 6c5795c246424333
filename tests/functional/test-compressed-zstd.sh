#!/bin/bash
# A filesystem in an image that QEMU has compressed with zstd.
test_limit=180
here=$(cd "$(dirname "$0")" && pwd)
. "$here/functions.sh"
. "$here/compressed-fs.sh"
requires loop fuse qemu-img mke2fs tar helpers
compressed_test zstd "$(pick 30 150 4000)"
