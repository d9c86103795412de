#!/bin/busybox sh
# PID 1 of a guest that only adds our service to its disk and ends. Nothing of the disk runs.
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*.ko; do /bin/busybox insmod "$module"; done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /mnt || exec /bin/busybox reboot -f
/bin/busybox cp /payload/vmcompare-* /mnt/sbin/ &&
  /bin/busybox cp /payload/service /mnt/etc/init.d/vmcompare &&
  /bin/busybox ln -s /etc/init.d/vmcompare /mnt/etc/runlevels/default/vmcompare &&
  /bin/busybox umount /mnt && echo vmcompare-installed
/bin/busybox sync
exec /bin/busybox reboot -f
