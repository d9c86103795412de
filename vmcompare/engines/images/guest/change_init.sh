#!/bin/busybox sh
# PID 1 of a guest that only puts an application onto its disk and ends. Nothing of the disk runs.
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*.ko; do /bin/busybox insmod "$module"; done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /mnt || exec /bin/busybox reboot -f
/bin/busybox cp -r /payload/. /mnt/ && /bin/busybox umount /mnt && echo vmcompare-installed
/bin/busybox sync
exec /bin/busybox reboot -f
