#!/bin/bash
# xfs on a loop device over the mounted disk.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/functions.sh"
. "$here/loop-fs.sh"
requires loop fuse qemu-img mkfs.xfs xfs_repair fstrim tar
loop_test xfs
