#!/bin/bash
# rawcow and qemu-io keep each other out of an image exactly as two qemu-io
# do: read-only, read-write and shared; and the error names the holder.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

qemu-img create -q -f qcow2 img 16M
: >mnt
: >mnt2
mkfifo commands

# io_flags MODE / cow_flags MODE
io_flags() { case $1 in ro) echo -r ;; share) echo "-r -U" ;; esac; }
cow_flags() { case $1 in ro) echo -o ro ;; share) echo -o ro,force_share ;; esac; }

# Hold the image until release(); sets $holder to the process.
hold()
{
	if [ "$1" = qemu ]; then
		rm -f held # what the one before has said
		# shellcheck disable=SC2046
		qemu-io -f qcow2 $(io_flags "$2") img <commands >held 2>&1 &
		holder=$!
		at_end_kill $holder
		exec 7>commands
		echo length >&7
		wait_for 10 grep -q MiB held || fail "qemu-io $2: $(cat held)"
	else
		# shellcheck disable=SC2046
		mount_pid img mnt $(cow_flags "$2")
		holder=$daemon
	fi
}
release()
{
	if [ "$1" = qemu ]; then
		exec 7>&-
		wait "$holder" || true
	else
		umount_wait mnt
	fi
}

# Is the image opened? 0 or 1; the message is in "second".
second()
{
	if [ "$1" = qemu ]; then
		# shellcheck disable=SC2046
		qemu-io -f qcow2 $(io_flags "$2") -c length img >second 2>&1 || return 1
		grep -q MiB second
	else
		# shellcheck disable=SC2046
		"$RAWCOW" img mnt2 $(cow_flags "$2") 2>second || return 1
		umount_wait mnt2
	fi
}

for first_mode in ro rw share; do
	for first in qemu rawcow; do
		hold $first $first_mode
		for mode in ro rw share; do
			for opener in qemu rawcow; do
				got=yes
				second $opener $mode || got=no
				key=$first_mode-$mode
				if [ $first-$opener = qemu-qemu ]; then
					declare "want_${key/-/_}=$got"
					continue
				fi
				want=want_${key/-/_}
				[ "${!want}" = $got ] ||
					fail "$first $first_mode, then $opener $mode: opened: $got, two QEMUs: ${!want}; $(cat second)"
				[ $got-$opener = no-rawcow ] || continue
				grep -q "img" second || fail "no name: $(cat second)"
				grep -qw "$holder" second ||
					fail "the holder $holder is not named: $(cat second)"
			done
		done
		release $first
	done
done
# shellcheck disable=SC2154
[ "$want_rw_rw$want_ro_ro$want_rw_ro$want_ro_rw" = noyesnono ] || fail "the matrix has changed"

# qemu-img info and check are refused while it is written, and -U is not.
mount_image img mnt
! qemu-img check img >/dev/null 2>&1 || fail "qemu-img check beside a writer"
qemu-img info -U img >/dev/null || fail "qemu-img info -U beside a writer"
umount_wait mnt

# A backing file is shared by readers and closed to writers.
qemu-img create -q -f qcow2 -b img -F qcow2 over
mount_image over mnt
! qemu-io -f qcow2 -c 'write 0 512' img >/dev/null 2>&1 || fail "the backing file is open to writers"
qemu-io -r -f qcow2 -c length img >/dev/null || fail "the backing file is closed to readers"
refuses_mount "img" img mnt2
mount_image img mnt2 -o ro
umount_wait mnt2
umount_wait mnt

# locking=off looks at no lock.
hold qemu ro
mount_image img mnt2 -o ro,locking=off
umount_wait mnt2
release qemu
