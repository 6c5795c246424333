#!/bin/bash
# ext4 on a loop device over the mounted disk.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/functions.sh"
. "$here/loop-fs.sh"
requires loop fuse qemu-img mkfs.ext4 e2fsck fstrim tar
loop_test ext4
