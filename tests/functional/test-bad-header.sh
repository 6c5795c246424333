#!/bin/bash
# A file that is no qcow2, a cut one, and each header field beyond its limit:
# one line that names the file, exit 1, nothing changed, nothing mounted.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img

qemu-img create -q -f qcow2 -o cluster_size=65536 good 64M
: >mnt

# refused REGEX: the file "bad", read-write and read-only
refused()
{
	local sum opts

	sum=$(sum_of bad)
	for opts in rw ro; do
		refuses_mount "$1" bad mnt -o $opts
		says 'bad'
	done
	[ "$sum" = "$(sum_of bad)" ] || fail "a refused image was changed ($1)"
	[ ! -s mnt ] || fail "the mount point was changed"
}

# poked OFFSET HEX REGEX
poked()
{
	cp good bad
	poke bad "$1" "$2"
	refused "$3"
}

refuses_mount "no such file|not found|exist" none mnt
for n in 0 1 4 10 71 72 103 104; do
	head -c $n good >bad
	refused "qcow2|header|short|truncated|small|ends"
done
head -c 65536 good >bad
refused "table|truncated|end|outside|refcount|l1"
head -c 196608 /dev/urandom >bad
refused "qcow2|magic"
truncate -s 1M bad
refused "qcow2|magic"
mkdir folder
refuses_mount "folder|directory|regular" folder mnt
mkfifo pipe
refuses_mount "pipe|fifo|regular" pipe mnt
refuses_mount "regular|null|device" /dev/null mnt

poked 0 00000000 "qcow2|magic"
poked 4 00000001 "version"
poked 4 00000004 "version"
poked 4 00000000 "version"
for bits in 00 08 16 20 3f 40 ff; do poked 23 $bits "cluster"; done
poked 20 ffffffff "cluster"
poked 24 ffffffffffffffff "size"
poked 24 7fffffffffffffff "size|l1"
poked 24 0000ffffffffffff "size|l1"
# backing file name
cp good bad
poke bad 8 "$(be64 65537)"
poke bad 16 "$(be32 10)"
refused "backing"
cp good bad
poke bad 8 "$(be64 1024)"
poke bad 16 "$(be32 1024)"
refused "backing"
cp good bad
poke bad 8 "$(be64 65530)"
poke bad 16 "$(be32 100)"
refused "backing"
cp good bad
poke bad 8 "$(be64 8)"
poke bad 16 "$(be32 10)"
refused "backing"
poked 8 ffffffffffffff00 "backing"
poked 32 00000003 "crypt"
poked 36 00000000 "l1"
poked 36 7fffffff "l1"
poked 36 ffffffff "l1"
poked 40 "$(be64 196609)" "l1"
poked 40 "$(be64 0x100000000)" "l1"
poked 40 ffffffffffff0000 "l1"
poked 40 7fffffffffff0000 "l1"
poked 48 "$(be64 65537)" "refcount"
poked 48 "$(be64 0x100000000)" "refcount"
poked 48 ffffffffffff0000 "refcount"
poked 56 00000000 "refcount"
poked 56 7fffffff "refcount"
poked 56 ffffffff "refcount"
poked 60 00010001 "snapshot"
poked 60 ffffffff "snapshot"
cp good bad
poke bad 60 "$(be32 1)"
poke bad 64 "$(be64 65537)"
refused "snapshot"
cp good bad
poke bad 60 "$(be32 1)"
poke bad 64 "$(be64 0x100000000)"
refused "snapshot"
poked 96 00000007 "refcount"
poked 96 ffffffff "refcount"
poked 100 00000047 "header"
poked 100 00000064 "header"
poked 100 00010008 "header"
poked 100 ffffffff "header"
# header extensions (the first stands where the header ends)
hlen=$((0x$(peek good 100 4)))
poked $hlen 12345678ffffffff "extension"
poked $hlen 123456780000fff8 "extension"

# A good one still works after all that.
mount_image good mnt
umount_wait mnt
check_clean good
