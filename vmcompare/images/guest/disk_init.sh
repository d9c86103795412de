#!/bin/busybox sh
# PID 1 of a guest that boots from its disk: the shortest way from the kernel to the disk's init.
echo vmcompare-init
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*.ko; do /bin/busybox insmod "$module"; done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /mnt || exec /bin/busybox reboot -f
/bin/busybox mount --move /dev /mnt/dev
exec /bin/busybox switch_root /mnt /sbin/init
