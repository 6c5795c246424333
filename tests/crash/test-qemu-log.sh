#!/bin/sh
# The harness on a log that it did not make: QEMU's driver for qcow2 frees a
# compressed cluster and uses it again before the change is on disk. The test
# of the harness is that it finds that; a QEMU without the fault is no failure.
crash=$(cd "${top_builddir:-.}" && pwd)/tests/crash/crash
for tool in qemu-img qemu-io; do
	command -v $tool >/dev/null || {
		echo "$tool is not installed"
		exit 77
	}
done
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 99

truncate -s 4M src.raw
qemu-io -f raw -c 'write -P 0x11 0 64k' src.raw >out || exit 99
qemu-img convert -c -O qcow2 src.raw disk.qcow2 || exit 99
cp disk.qcow2 before.qcow2
: >log
qemu-io -t writeback -c 'write -P 0x22 0 4k' -c 'write -P 0x33 1M 64k' \
	'json:{"driver":"qcow2","file":{"driver":"blklogwrites",
	"file":{"driver":"file","filename":"disk.qcow2"},
	"log":{"driver":"file","filename":"log"}}}' >out 2>&1 || {
	echo "no blklogwrites driver here"
	exit 77
}
"$crash" --import log before.qcow2
rc=$?
case $(qemu-img --version) in
*"version 7.2"*) [ $rc -eq 1 ] ;;
*) [ $rc -le 1 ] ;;
esac
