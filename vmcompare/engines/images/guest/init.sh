#!/bin/busybox sh
# PID 1 of a guest whose root file system is its initramfs. The line says that the kernel is done;
# then the first act is the program every platform starts. /dev/console is a node in the archive.
echo vmcompare-init
/sbin/vmcompare-first-byte </dev/console &
export PATH=/sbin:/bin:/usr/sbin:/usr/bin HOME=/root TERM=dumb
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
exec /bin/busybox sh /sbin/vmcompare-agents
