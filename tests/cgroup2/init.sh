#!/node/usr/bin/busybox sh
# The first process of the kernel. pivot_root, which runc needs, fails on the initramfs itself: so a mount of it takes
# its place. Then it is the node: it runs each script that comes by the second serial port, in base64, a line each, and
# answers by the exit code and what the script said.
if [ "$1" != node ]; then
    b=/node/usr/bin/busybox
    $b mount -o bind /node /node && cd /node && $b mount -o move . / && exec $b chroot . sh /init node
fi
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
for directory in /run /tmp /pods; do mkdir -p $directory; mount -t tmpfs tmpfs $directory; done
mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup # as systemd does
for cgroup in '' kubepods kubepods/burstable; do # as the kubelet does
    cd /sys/fs/cgroup && mkdir -p "./$cgroup" && cd "./$cgroup" || exit
    sed 's/[^ ][^ ]*/+&/g' cgroup.controllers >cgroup.subtree_control
done
cd /
ifconfig lo 127.0.0.1
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo
echo ready >&3
while read -r script <&3; do
    echo "$script" | base64 -d >/run/script
    sh -eu /run/script >/run/said 2>&1 3>&- </dev/null
    echo "$? $(base64 -w 0 /run/said)" >&3
done
