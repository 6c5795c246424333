# shellcheck shell=bash
# functions.sh: what every functional test starts with. A test sources it:
#
#	#!/bin/bash
#	. "${srcdir:-${0%/*}/../..}/tests/functional/functions.sh"
#	requires fuse qemu-img
#
# It runs the script again under a time limit, makes an empty folder $tmp and
# goes there, and stops the test at the first command that fails (set -e).
# Whatever happens, everything that was mounted, looped or started below $tmp
# is gone when the script ends: if the test itself is killed, its parent, which
# does nothing but wait, sees to it.
#
# Environment: RAWCOW the program under test; HELPERS the program of helpers.c;
# RAWCOW_TEST_SCALE small (sanitizers), normal, or full; RAWCOW_TEST_KEEP=1
# leaves $tmp for a look.

set -eEu
export LC_ALL=C
unset NOTIFY_SOCKET

top_srcdir=${top_srcdir:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
top_builddir=${top_builddir:-$top_srcdir/build}
RAWCOW=${RAWCOW:-$top_builddir/rawcow}
HELPERS=${HELPERS:-$top_builddir/tests/functional/helpers}
scale=${RAWCOW_TEST_SCALE:-normal}
export top_srcdir top_builddir RAWCOW HELPERS

mounts_below() { awk -v d="$1/" 'index($2, d) == 1 { print $2 }' /proc/self/mounts; }
is_mounted() { awk -v d="$1" '$2 == d { f = 1 } END { exit !f }' /proc/self/mounts; }
on_fuse() { awk -v d="$1" '$2 == d && $3 ~ /^fuse/ { f = 1 } END { exit !f }' /proc/self/mounts; }

# Processes that work below $tmp, or have a file there open.
users_of_tmp()
{
	find /proc/[0-9]*/cwd /proc/[0-9]*/fd -lname "$tmp*" 2>/dev/null |
		cut -d/ -f3 | sort -u
}

# What is mounted inside of our mounts goes first, then loop devices.
let_go()
{
	local m

	mounts_below "$tmp" | tac | while read -r m; do
		mountpoint -q "$m" 2>/dev/null && ! on_fuse "$m" && umount "$m"
	done 2>/dev/null
	losetup -a 2>/dev/null | awk -F: -v d="($tmp/" 'index($0, d) { print $1 }' |
		while read -r m; do losetup -d "$m"; done 2>/dev/null
}

let_mounts_go() { mounts_below "$tmp" | tac | while read -r m; do umount -l "$m"; done; }

# After a test that was killed: what it had begun may still be about to mount.
sweep()
{
	local i pids

	let_go
	for ((i = 0; i < 100; i++)); do
		pids=$(users_of_tmp)
		[ -n "$pids" ] || break
		# shellcheck disable=SC2086
		kill -9 $pids 2>/dev/null
		let_mounts_go 2>/dev/null
		sleep 0.05
	done
	let_go
	let_mounts_go
	[ "${RAWCOW_TEST_KEEP:-0}" = 1 ] || rm -rf "$tmp"
}

# run_limited SCRIPT ARG...: the whole life of its parent.
run_limited()
{
	local status job limit=${test_limit:-120} name=${0##*/}

	[ "$scale" = normal ] || limit=$((limit * 10))
	tmp=$(mktemp -d "${TMPDIR:-/tmp}/rawcow-${name%.sh}.XXXXXX")
	tmp=$(cd "$tmp" && pwd -P)
	set -m # or it would get no terminal and no SIGINT
	RAWCOW_TEST_TMP=$tmp timeout -k "${test_grace:-20}" "$limit" "$@" &
	job=$!
	trap 'kill -TERM $job 2>/dev/null || :' TERM INT HUP
	until wait "$job"; status=$?; ! kill -0 "$job" 2>/dev/null; do :; done
	trap '' TERM INT HUP
	set +e
	# killed, or it did not get to its own end
	if [ "$status" -ge 124 ] || [ -e "$tmp" ]; then sweep; fi
	exit "$status"
}

# A test may set test_limit (seconds at normal scale) before it sources this, and
# test_grace, how long it may clean up when it is over.
[ -n "${RAWCOW_TEST_TMP:-}" ] || run_limited "$0" "$@"
tmp=$RAWCOW_TEST_TMP
unset RAWCOW_TEST_TMP

test_name=${0##*/}
cleanup_list=()
tmp_pids=()

say() { printf '%s: %s\n' "$test_name" "$*"; }

fail()
{
	say "FAILED: $*" >&2
	exit 1
}

skip()
{
	say "SKIPPED: $*"
	exit 77
}

# cleanup_fn COMMAND ARG...: run this at the end, the last one first.
cleanup_fn() { cleanup_list+=("$(printf '%q ' "$@")"); }

# at_end_kill PID: a process of ours that must not outlive the test. Its number
# may be another's by then; together with when it began it is not.
at_end_kill() { tmp_pids+=("$1 $(born "$1")"); }
born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
kill_same() { [ -z "${2:-}" ] || [ "$(born "$1")" != "$2" ] || kill -9 "$1" 2>/dev/null; }

# shellcheck disable=SC2317
cleanup_all()
{
	local status=$? i

	trap - EXIT ERR
	trap '' TERM INT HUP # timeout sends it twice
	set +e
	cd /
	for ((i = ${#cleanup_list[@]} - 1; i >= 0; i--)); do
		eval "${cleanup_list[i]}"
	done
	let_go
	# shellcheck disable=SC2086
	for i in "${tmp_pids[@]}"; do kill_same $i; done
	let_mounts_go
	if [ -n "$(compgen -G "$tmp/sanitizer.*")" ]; then
		cat "$tmp"/sanitizer.* >&2
		say "FAILED: a sanitizer's report, see above" >&2
		[ "$status" != 0 ] || status=1
	fi
	if [ "${RAWCOW_TEST_KEEP:-0}" = 1 ]; then
		say "files are in $tmp"
	else
		rm -rf "$tmp"
	fi
	exit "$status"
}
trap cleanup_all EXIT
trap 'trap "" TERM INT HUP; exit 124' TERM INT HUP
trap 'say "$BASH_SOURCE:$LINENO: failed ($?): $BASH_COMMAND" >&2' ERR

cd "$tmp"
export TMPDIR=$tmp
# a mount in the background has no stderr
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:log_path=$tmp/sanitizer" \
	UBSAN_OPTIONS="${UBSAN_OPTIONS:-}:log_path=$tmp/sanitizer:print_stacktrace=1" \
	TSAN_OPTIONS="${TSAN_OPTIONS:-}:log_path=$tmp/sanitizer"

# requires root | fuse | loop | COMMAND...: skip the test where one lacks.
requires()
{
	local what

	for what in "$@"; do
		case $what in
		root) [ "$(id -u)" = 0 ] || skip "needs root" ;;
		fuse)
			[ -w /dev/fuse ] || skip "no /dev/fuse"
			[ -x "$RAWCOW" ] || skip "no program at $RAWCOW"
			;;
		loop)
			[ "$(id -u)" = 0 ] || skip "needs root for loop devices"
			losetup -f >/dev/null 2>&1 || skip "no loop device"
			;;
		helpers) [ -x "$HELPERS" ] || skip "no program at $HELPERS" ;;
		*) command -v "$what" >/dev/null || skip "$what is not installed" ;;
		esac
	done
}

# pick SMALL NORMAL FULL: one of the three by scale.
pick()
{
	case $scale in
	small) echo "$1" ;;
	full) echo "$3" ;;
	*) echo "$2" ;;
	esac
}

full_path() { realpath -sm "$1"; }

# disk_of MOUNTPOINT: where the raw disk is.
disk_of() { if [ -d "$1" ]; then echo "$1/disk.raw"; else echo "$1"; fi; }

# mount_image IMAGE MOUNTPOINT [ARG...]: mount, on a new empty file unless
# MOUNTPOINT exists. When it returns the disk is there.
mount_image()
{
	local img=$1 mnt=$2

	shift 2
	[ -e "$mnt" ] || : >"$mnt"
	"$RAWCOW" "$img" "$mnt" "$@" || fail "rawcow $img $mnt $* exits $?"
	is_mounted "$(full_path "$mnt")" || fail "$mnt is not mounted"
	[ -f "$(disk_of "$mnt")" ] || fail "no disk at $mnt"
}

# umount_wait MOUNTPOINT: commit, unmount, wait; must succeed.
umount_wait()
{
	"$RAWCOW" umount "$1" || fail "rawcow umount $1 exits $?"
	! is_mounted "$(full_path "$1")" || fail "$1 is still mounted"
}

# check_clean IMAGE: no error and no leak for QEMU and for ourselves.
check_clean()
{
	local status=0

	qemu-img check "$1" >check.out 2>&1 || status=$?
	if [ $status != 0 ] || grep -qE '^(ERROR|Leaked)|leaked clusters' check.out; then
		cat check.out >&2
		fail "qemu-img check $1 exits $status"
	fi
	"$RAWCOW" check "$1" >check.out 2>&1 || status=$?
	[ $status = 0 ] || { cat check.out >&2; fail "rawcow check $1 exits $status"; }
	rm -f check.out
}

# check_not_corrupt IMAGE: as check_clean, but leaks are allowed.
check_not_corrupt()
{
	local tool status

	for tool in qemu-img "$RAWCOW"; do
		status=0
		"$tool" check "$1" >check.out 2>&1 || status=$?
		case $status in
		0 | 3) ;;
		*) cat check.out >&2; fail "$tool check $1 exits $status" ;;
		esac
	done
	rm -f check.out
}

# same_content IMAGE RAW: QEMU reads the same bytes from both.
same_content()
{
	qemu-img compare -f qcow2 -F raw "$1" "$2" >compare.out 2>&1 ||
		{ cat compare.out >&2; fail "$1 differs from $2"; }
	rm -f compare.out
}

# refuses REGEX COMMAND...: the command fails with exit 1 (or $refuse_status)
# and says why in one line on stderr that matches REGEX (without case). The
# line is in $message afterwards.
refuses()
{
	local re=$1 status=0 want=${refuse_status:-1}

	shift
	"$@" >refuse.out 2>refuse.err </dev/null || status=$?
	# a build for gcov, run by who may not write its counters
	sed -i '/^profiling:/d' refuse.err
	[[ " $want " == *" $status "* ]] ||
		{ cat refuse.err >&2; fail "exit $status, wanted $want ($re): $*"; }
	[ "$(grep -c . refuse.err)" = 1 ] ||
		{ cat refuse.err >&2; fail "not one line on stderr: $*"; }
	grep -qiE -- "$re" refuse.err ||
		{ cat refuse.err >&2; fail "no '$re' in the message: $*"; }
	[ ! -s refuse.out ] || { cat refuse.out >&2; fail "stdout is not empty: $*"; }
	message=$(cat refuse.err)
	rm -f refuse.out refuse.err
}

# says REGEX: the last refusal says this too.
says()
{
	grep -qiE -- "$1" <<<"$message" || fail "no '$1' in: $message"
}

# refuses_mount REGEX IMAGE MOUNTPOINT [ARG...]: and nothing is mounted.
refuses_mount()
{
	local re=$1 img=$2 mnt=$3

	shift 3
	refuses "$re" "$RAWCOW" "$img" "$mnt" "$@"
	! is_mounted "$(full_path "$mnt")" || fail "$mnt was left mounted"
}

# poke FILE OFFSET HEXBYTES: overwrite bytes in place (no conversion, no sync).
poke()
{
	local hex=$3 s=

	while [ -n "$hex" ]; do s+="\\x${hex:0:2}"; hex=${hex:2}; done
	# shellcheck disable=SC2059
	printf "$s" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none
}

# peek FILE OFFSET LEN: hex bytes.
peek() { od -An -v -tx1 -j $(($2)) -N $(($3)) "$1" | tr -d ' \n'; }

# be64 NUMBER / be32 NUMBER: hex bytes for poke.
be64() { printf '%016x' "$(($1))"; }
be32() { printf '%08x' "$(($1))"; }

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for()
{
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

# mount_pid IMAGE MOUNTPOINT [ARG...]: as mount_image(); sets $daemon to the
# server's process. A mount has a pidfile then, and the test's end kills it.
mount_pid()
{
	local img=$1 mnt=$2

	shift 2
	mount_image "$img" "$mnt" --pidfile "$tmp/pid" "$@"
	daemon=$(cat "$tmp/pid")
	at_end_kill "$daemon"
}
gone() { ! kill -0 "$1" 2>/dev/null; }

# random_raw FILE MIB: incompressible bytes, the same in each run.
random_raw()
{
	openssl enc -aes-128-ctr -pass "pass:$test_name" -nosalt -pbkdf2 </dev/zero 2>/dev/null |
		head -c "$(($2 << 20))" >"$1" || true
	[ -s "$1" ] || head -c "$(($2 << 20))" /dev/urandom >"$1"
}

# both VERB ARG...: run a helper on $disk and on its oracle $oracle.
both()
{
	local verb=$1

	shift
	"$HELPERS" "$verb" "$disk" "$@"
	# inside the file both read as zero, and tmpfs can only punch
	[ "$verb" != fallocate ] || set -- punch "${@:2}"
	"$HELPERS" "$verb" "$oracle" "$@"
}

# sparse_raw FILE SIZE: a raw file with data at both ends, in the middle, and
# holes in between; not aligned to anything.
sparse_raw()
{
	local size

	truncate -s "$2" "$1"
	size=$(stat -c %s "$1")
	"$HELPERS" write "$1" 0 300001 1
	"$HELPERS" write "$1" $((size / 3)) 2500000 2
	"$HELPERS" write "$1" $((size / 2 + 12345)) 70000 3
	"$HELPERS" write "$1" $((size - 100000)) 100000 4
}

# scribble IMAGE MIB N: random writes, zeroes, discards, compressed clusters, by
# QEMU and $RANDOM.
scribble()
{
	local i at len args=()

	for ((i = 0; i < $3; i++)); do
		at=$((RANDOM % ($2 * 2048) * 512)) len=$((RANDOM % 400 * 512 + 512))
		[ $((at + len)) -le $(($2 << 20)) ] || continue
		case $((RANDOM % 6)) in
		0) args+=(-c "write -z $at $len") ;;
		1) args+=(-c "write -zu $at $len") ;;
		2) args+=(-c "discard $at $len") ;;
		*) args+=(-c "write -P $((RANDOM % 255 + 1)) $at $len") ;;
		esac
	done
	# compressed ones only where nothing is yet
	for ((i = 0; i < 3; i++)); do
		qemu-io -f qcow2 -c "write -c -P $((RANDOM % 255 + 1)) $((RANDOM % ($2 * 16) * 65536)) 64k" "$1" >/dev/null || :
	done
	qemu-io -f qcow2 -d unmap "${args[@]}" "$1" >/dev/null
}

# same_file A B: and where they differ.
same_file() { cmp "$1" "$2" || fail "$1 and $2 differ"; }

# A map in JSON, without the key that QEMU has since 8.2.
older_map() { sed -E 's/, *"compressed": *(true|false)//'; }

sum_of() { sha256sum "$@" | cut -d' ' -f1; }

# can_inject: can calls of a program be made to fail? inject_enoent CALL FILE
# COMMAND...: the first CALL (access, stat) of FILE finds nothing, as if it was made
# just afterwards.
can_inject()
{
	strace -qq -o /dev/null -e inject=getppid:error=EPERM true 2>/dev/null
}
inject_enoent()
{
	local calls=?access,?faccessat,?faccessat2 file=$2

	[ "$1" = access ] || calls=?stat,?newfstatat,?statx
	shift 2
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 strace -f -qq \
		-o /dev/null -P "$file" -e trace=$calls \
		-e inject=$calls:error=ENOENT:when=1 "$@"
}

# files_opened LOG: those that "strace -y" saw opened, by the names that the kernel
# has for them: rawcow opens by /proc/self/fd what it looked at (O_PATH) before.
files_opened()
{
	sed -nE '/O_PATH/d; s/.*(open(at2?)?|creat)\(.* = [0-9]+<([^<>]*).*/\3/p' "$1" |
		sort -u
}

# start_strace PID FILE: record its syncs; stop_strace prints how many.
start_strace()
{
	strace -f -e trace=fdatasync,fsync,sync_file_range,syncfs,sync,msync \
		-o "$2" -p "$1" 2>strace.err &
	strace_pid=$!
	strace_log=$2
	at_end_kill "$strace_pid"
	wait_for 10 grep -q attached strace.err || fail "strace: $(cat strace.err)"
	sleep 0.2
}
strace_over() { ! grep -qs '^State:.[^Z]' "/proc/$strace_pid/status"; }
stop_strace()
{
	kill -INT "$strace_pid"
	# often in a subshell, whose child it is not; the next one cannot attach
	# before it has let go
	wait_for 10 strace_over || fail "strace does not end"
	grep -cE '(fdatasync|fsync|sync_file_range|syncfs|sync|msync)\(' "$strace_log" || true
}

# usr_files MIB: names below /usr of about so much; "files" gets regular files
# and links, "sums" the checksums of the regular files.
usr_files()
{
	find /usr -xdev \( -type f -size -16M -o -type l \) \
		-printf '%s %y %P\n' 2>/dev/null |
		awk -v max=$(($1 << 20)) '{ n += $1 + 2048; if (n > max) exit
			type = $2; sub(/^[0-9]+ . /, ""); print >"files"
			if (type == "f") print >"regular" }'
	[ "$(wc -l <regular)" -gt 50 ] || skip "not enough files in /usr"
	tr '\n' '\0' <regular | (cd /usr && xargs -0 sha256sum) >sums
}

# A test that gave another meaning to one of these would have it called here.
# shellcheck disable=SC2046
readonly -f $(compgen -A function)
