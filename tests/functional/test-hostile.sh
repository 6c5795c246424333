#!/bin/bash
# Images that name other files or lie about themselves, through the program: each
# command ends soon with the status it should, opens nothing but the image and
# what the policy allows, and changes nothing.
. "$(dirname "$0")/functions.sh"
requires fuse strace
HOSTILE=${HOSTILE:-$top_builddir/tests/hostile/hostile}
[ -x "$HOSTILE" ] || skip "no program at $HOSTILE"

# What any program of this system opens, and a mount; gcov's counters.
harmless='^(/proc/|/sys/|/usr/|/lib|/etc/(ld\.so|fuse\.conf|localtime|nsswitch)|/dev/(null|fuse)$|/run/mount|[.]$|.*[.]gcda$)'

# look LOG ALLOWED...: no path was opened but these
look()
{
	local log=$1 path

	shift
	files_opened "$log" >opened
	# or what is looked for could not be seen at all
	grep -qFx "$tmp/image" opened || fail "$image: not opened: $(cat "$log")"
	while read -r path; do
		[ "$path" != "$tmp" ] || continue
		[[ " $* " != *" ${path##"$tmp/"} "* ]] || continue
		grep -qE "$harmless" <<<"$path" ||
			fail "$image: '$path' was opened: $(grep -F "<$path>" "$log")"
	done <opened
	! grep -qE 'connect\(|ptrace\(' "$log" || fail "$image: $(cat "$log")"
}

childless() { ! pgrep -P "$1" >/dev/null; }

# traced STATUS ALLOWED -- COMMAND...: under a limit of time and memory
traced()
{
	local want=$1 allowed=() status=0

	shift
	while [ "$1" != -- ]; do allowed+=("$1"); shift; done
	shift
	(
		[ "$scale" != normal ] || ulimit -t 2
		# the search for leaks does not work under strace
		export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
		exec strace -f -qq -y -e trace=open,openat,openat2,creat,connect,ptrace \
			-o trace timeout 10 "$@" >out 2>&1
	) &
	# a mount is traced until it ends
	while [ "$(jobs -r)" ] && ! is_mounted "$tmp/mnt"; do sleep 0.02; done
	if is_mounted "$tmp/mnt"; then
		# not before it is ready, and timeout has ended
		wait_for 10 childless $! || :
		"$RAWCOW" umount mnt
	fi
	wait $! || status=$?
	[[ " $want " == *" $status "* ]] ||
		fail "$image: exit $status, not $want: $* ($(head -c 600 out))"
	! LC_ALL=C grep -q $'[\001-\010\013-\037]' out ||
		fail "$image: control characters: $(head -c 600 out | cat -v)"
	look trace "${allowed[@]}"
}

# try IMAGE INFO CHECK MAP RO: the exit statuses that are wanted
try()
{
	local before

	image=$1
	"$HOSTILE" --build "$image"
	before=$(stat -c '%s %y %z' image)
	traced "$2" image -- "$RAWCOW" info image
	traced "$3" image -- "$RAWCOW" check image
	traced "$4" image small -- "$RAWCOW" map image
	traced "$5" image small mnt -- "$RAWCOW" image mnt -o ro
	[ "$before" = "$(stat -c '%s %y %z' image)" ] || fail "$image: changed"
}

: >mnt
# name                          info check map ro
try "backing /etc/passwd"          0 0 1 1
try "backing ../../../etc/passwd"  0 0 1 1
try "backing json:"                0 0 1 1
try "backing nbd:"                 0 0 1 1
try "backing FIFO"                 0 0 1 1
try "backing symbolic link"        0 0 1 1
try "backing itself"               0 0 1 1
try "backing name with escapes"    0 0 1 1
try "feature name with escapes"    0 63 1 1
try "snapshot names with escapes"  0 0 0 0
try "backing smaller, unaligned"   0 0 0 0
try "L2 maps itself"               0 2 0 0
try "8 MiB of one refcount block"  0 2 0 0
try "snapshot L1 tables of 544 MiB" 1 2 0 0
