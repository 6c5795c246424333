#!/bin/bash
# btrfs on a loop device over the mounted disk.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/functions.sh"
. "$here/loop-fs.sh"
requires loop fuse qemu-img mkfs.btrfs btrfs fstrim tar
loop_test btrfs
