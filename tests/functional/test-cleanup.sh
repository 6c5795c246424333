#!/bin/bash
# A test that is killed leaves no mount, no process and no folder, whatever it
# was doing.
. "$(dirname "$0")/functions.sh"
requires fuse

"$RAWCOW" create -q img 1M

# What a test may be in the middle of; "ready" says that it is.
cat >child.sh <<'EOF'
#!/bin/bash
test_grace=1
. "$top_srcdir/tests/functional/functions.sh"
cp "$IMG" img
: >mnt
case $1 in
mounted)	# and a program that does not heed signals
	mount_image img mnt
	: >"$READY"
	(trap '' TERM; sleep 30) ;;
mounting)	# in the background, where it goes on when the test has gone
	(trap '' TERM; : >"$READY"; sleep 0.3; "$RAWCOW" img mnt; sleep 30) &
	wait ;;
ending)	# its own cleanup
	mount_image img mnt
	cleanup_fn eval ': >"$READY"; sleep 0.5'
	exit 0 ;;
esac
EOF
chmod +x child.sh
mkdir child
export IMG=$tmp/img READY=$tmp/ready

left()
{
	find /proc/[0-9]*/cwd /proc/[0-9]*/fd -lname "$tmp/child/*" 2>/dev/null
	mounts_below "$tmp/child"
	ls -A child
}

# killed WHAT COMMAND...: begin, and end it by that command
killed()
{
	local what=$1 status=0 pid

	shift
	rm -f ready
	TMPDIR=$tmp/child ./child.sh "$what" >out 2>&1 &
	pid=$!
	wait_for 20 test -e ready || fail "$what: $(cat out)"
	"$@" "$pid"
	wait "$pid" || status=$?
	[ "$what" = ending ] || [ $status -ge 124 ] || fail "$what: exit $status: $(cat out)"
	sleep 0.5
	[ -z "$(left)" ] || fail "$what, $*: $(left)"
}
twice() { kill "$1"; sleep 0.1; kill "$1"; }
# the script itself, with no chance to do anything
inside() { kill -9 "$(pgrep -P "$(pgrep -P "$1" timeout)")"; }

killed mounted kill
killed mounted inside
killed mounting kill
killed mounting inside
killed ending twice
