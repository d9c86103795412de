#!/sbin/openrc-run
# The last service of the default runlevel: the distribution is up. It starts the program every
# platform starts, on the serial console, and then the command channel.
description="vmcompare: first byte and command channel"
depend() {
	after *
}
start() {
	/sbin/vmcompare-first-byte </dev/ttyS0 >/dev/ttyS0 &
	setsid /bin/busybox sh /sbin/vmcompare-agents </dev/null >/dev/null 2>&1 &
}
